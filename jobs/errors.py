"""Errors of the user's making end in one line and a non-zero exit; all others show where they are."""
import contextlib
import re
import sys

import tensorflow as tf

from inference.predict import PredictionError
from inference.submissions import SubmissionError
from jobs.run_directory import RunError
from pipeline.file_cache import CacheError
from pipeline.selection import SelectionError
from records.annotations import AnnotationError
from records.features import FeatureError
from records.store import StoreError
from training.devices import TPUNotReachable
from training.loop import TrainingStopped
from training.signals import Interrupted
from training.snapshots import SnapshotError

EXPECTED = (AnnotationError, CacheError, FeatureError, PredictionError, RunError, SelectionError,
            StoreError, SnapshotError, SubmissionError, TPUNotReachable, TrainingStopped, MemoryError)
# How TensorFlow's decoders begin to say so.
DAMAGED = ("Unknown image file format", "jpeg::Uncompress failed", "Invalid PNG",
           "Could not parse example")


class OptionError(ValueError):
    """Options that only turn out not to fit once the data or the devices are known."""


@contextlib.contextmanager
def user_errors(program):
    try:
        yield
    except EXPECTED + (OptionError,) as error:
        sys.exit(f"{program}: {error}")
    except Interrupted as interruption:
        print(f"{program}: {interruption}", file=sys.stderr)
        sys.exit(128 + interruption.signal_number)
    except KeyboardInterrupt:
        sys.exit(f"{program}: interrupted; what was finished is kept")
    except tf.errors.ResourceExhaustedError as error:
        sys.exit(f"{program}: the device ran out of memory: choose a smaller --batch_size or --dim "
                 f"({error.message[:200]})")
    except tf.errors.DataLossError as error:
        sys.exit(f"{program}: a shard of the store is damaged ({error.message[:200]}): copy the store again "
                 "or repack it")
    except tf.errors.InvalidArgumentError as error:  # what tf.data makes of any error in it
        named = re.search(r"\bStoreError: (.*)", error.message)
        damaged = re.search(f"(?:{'|'.join(DAMAGED)}).*", error.message)
        if not (named or damaged):
            raise
        sys.exit(f"{program}: " + (named[1] if named else f"a record of the store is damaged "
                                   f"({damaged[0][:200]}): copy the store again or repack it"))


@contextlib.contextmanager
def option_errors():
    """ValueErrors of the functions called inside are about what the user asked for."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise OptionError(str(error)) from error
