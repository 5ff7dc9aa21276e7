"""Selects Keras 2 for TensorFlow; imported by every room that uses TensorFlow, before it.

The backbone packages work only under Keras 2. TensorFlow picks Keras 3 from 2.16 on, unless told before
its first import to take the package tf-keras; up to 2.15 (requirements-addons.txt) its own is Keras 2.
"""
import importlib.metadata
import os
import sys
import tempfile

TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu", "tensorflow-intel", "tensorflow-macos")


def _own_keras_is_2():
    """Of the installed TensorFlow, without importing it: that would be too late to choose."""
    for package in TENSORFLOWS:
        try:
            major, minor = importlib.metadata.version(package).split(".")[:2]
        except importlib.metadata.PackageNotFoundError:
            continue
        return (int(major), int(minor)) < (2, 16)
    raise ImportError(f"none of {', '.join(TENSORFLOWS)} is installed: bash run_training.sh sets up .venv")


if _own_keras_is_2():
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # would look for tf-keras, which goes with later versions
else:
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
