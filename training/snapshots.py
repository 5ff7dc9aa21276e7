"""Everything that a training needs to go on, in one file: each variable, bit for bit, and its state.

A snapshot is an .npz (a zip of arrays; nothing in it is pickled, and each member has a CRC) whose
names say where in the training a variable belongs, "optimizer/_variables/3". A variable that each
device keeps for itself (BatchNorm's statistics, sums of metrics) is stored once per device.
"""
import collections
import itertools
import json
import os
import pathlib
import re
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from training.workers import cluster, gathered_parts, is_chief

NAME = re.compile(r"step-(\d{9})\.npz")


class SnapshotError(ValueError):
    """A snapshot that is damaged, or does not belong to this training."""


def named_variables(**roots):
    """{name: variable} of everything trackable below `roots` (models, optimizers, metrics, dicts)."""
    whole = tf.train.Checkpoint(**roots)
    view = tf.train.TrackableView(whole)
    found, seen, waiting = {}, set(), [("", whole)]
    while waiting:
        name, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found[name] = node
        else:
            prefix = f"{name}/" if name else ""
            children = [(prefix + key, child) for key, child in view.children(node).items()]
            waiting += reversed(children)
    return found


class Snapshots:
    """The last few snapshots of a run, in its folder; the newest that is whole is gone on from."""

    def __init__(self, folder, variables, strategy, keep=2):
        """folder: of the snapshots. variables: {name: tf.Variable}, all that there are. keep: so many
        of the newest stay, >= 1."""
        self.folder, self.variables, self.keep = pathlib.Path(folder), variables, keep
        self.strategy = strategy

    def save(self, step, state):
        """Writes the snapshot of `step`, beside and renamed. state: dict for JSON.

        All workers of a distributed training call it; the chief writes, one variable after the other,
        so that no more than the largest is held.
        """
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        arrays = itertools.chain([("state.json", text)], (
            (f"v/{name}", self._values(variable)) for name, variable in self.variables.items()))
        if not is_chief():
            collections.deque(arrays, maxlen=0)  # what is gathered, all gather
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, beside = self.folder / f"step-{step:09d}.npz", self.folder / ".new.npz"
        with open(beside, "wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in arrays:
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        for old in self.paths()[self.keep:]:
            old.unlink(missing_ok=True)

    def paths(self):
        """The snapshots there are, newest first."""
        return sorted((p for p in self.folder.glob("step-*.npz") if NAME.fullmatch(p.name)),
                      reverse=True)

    def restore(self):
        """Puts the newest snapshot that is whole into the variables; returns its state, or None if
        there is no snapshot.

        Damaged ones are passed over with a warning. Raises SnapshotError where all are damaged, or
        one is whole but of another training.
        """
        paths = self.paths()
        for path in paths:
            try:
                state, arrays = read_snapshot(path)
            except SnapshotError as error:
                print(f"warning: {error}; going on from the one before")
                continue
            self._put(path, arrays)
            return state
        if paths:
            raise SnapshotError(f"every snapshot in {self.folder} is damaged: train anew with "
                                "--overwrite")
        return None

    def _put(self, path, arrays):
        odd = sorted(set(arrays) ^ set(self.variables))
        if odd:
            raise SnapshotError(f"{path} is of another training: {len(odd)} variables are only in "
                                f"one of the two, for instance {odd[0]}")
        devices = self.strategy.num_replicas_in_sync
        for name, variable in self.variables.items():
            shape = tuple(variable.shape)
            shape = (devices, *shape) if per_device(variable) else shape
            if arrays[name].shape != shape:
                raise SnapshotError(f"{path} is of another training, or another number of devices: "
                                    f"{name} is {arrays[name].shape} there, {shape} here")
        for name, variable in self.variables.items():
            _assign(variable, arrays[name])

    def _values(self, variable):
        if per_device(variable):
            return gathered_parts(variable, self.strategy)  # [devices, ...]
        return np.asarray(_parts(variable)[0])


def read_snapshot(path):
    """(state, {name: array}) of a snapshot. Raises SnapshotError where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            state = json.loads(file["state.json"].tobytes())
            return state, {name[2:]: file[name] for name in file.files if name.startswith("v/")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SnapshotError(f"{path} is damaged ({error})") from error


def per_device(variable):
    """Does each device keep a value of its own?"""
    return (variable.synchronization == tf.VariableSynchronization.ON_READ
            and variable.aggregation != tf.VariableAggregation.ONLY_FIRST_REPLICA
            and hasattr(variable, "values"))


def _parts(variable):
    """This worker's copies of a variable."""
    return getattr(variable, "values", [variable])


def _assign(variable, array):
    parts = _parts(variable)
    first = cluster()[0] * len(parts)
    for place, part in enumerate(parts):
        part.assign(array[first + place] if per_device(variable) else array)
