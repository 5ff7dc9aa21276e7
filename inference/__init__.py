"""Predictions by id, scores, submissions."""
