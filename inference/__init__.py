"""Predictions by id, scores, submissions. Imports records and models."""
import keras2
