"""Devices, optimisers, schedules, the training step, checkpoints."""
import keras2
