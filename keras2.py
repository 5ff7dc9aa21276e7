"""Selects Keras 2 (tf-keras) for TensorFlow; imported by every room that uses TensorFlow, before it.

The backbone packages work only under Keras 2, and TensorFlow 2.21 picks Keras 3 unless told
otherwise before its first import.
"""
import os
import sys
import tempfile

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise ImportError("TensorFlow was imported before Keras 2 could be selected: import keras2 "
                      "(or any package of this project) before tensorflow.")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides notices, shows errors


def import_tensorflow_quietly():
    """Imports TensorFlow without the notices that it writes past its own log level.

    They are shown after all if the import fails.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            import tensorflow
            tensorflow.config.list_physical_devices()  # looks for a GPU, and says so
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
