"""Selects Keras 2 (tf-keras) for TensorFlow; imported by every room that uses TensorFlow, before it.

The backbone packages work only under Keras 2, and TensorFlow 2.21 picks Keras 3 unless told
otherwise before its first import.
"""
import os
import sys

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise ImportError("TensorFlow was imported before Keras 2 could be selected: import keras2 "
                      "(or any package of this project) before tensorflow.")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides start-up notices, shows errors
