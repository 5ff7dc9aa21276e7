"""All folds in one call: each a run of its own, in a process of its own, whose memory returns.

RUN_DIR/fold0, fold1, ... are the runs; RUN_DIR/folds.csv has their scores on what each did not train on.
"""
import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
from scipy.special import expit

from inference.fold_scores import fold_table, write_fold_table
from inference.label_scores import label_fold_table
from inference.predict import read_predictions
from inference.turtle_submission import known_classes
from jobs.run_directory import FREE_OPTIONS

RUN_PY = pathlib.Path(__file__).parents[1] / "run.py"


def run(options, argv):
    """Runs --job for the folds of --initial_fold to --final_fold. argv: the command line."""
    for fold in range(options.initial_fold, options.last_fold):
        folder = options.run_dir / f"fold{fold}"
        if set(options.job) <= {"train", "val"} and _finished(folder, options, fold):
            print(f"== fold {fold}: finished before -> {folder}")
            continue
        print(f"== fold {fold} of {options.n_folds} -> {folder}", flush=True)
        of_fold = []
        if options.init_from and fold_folders(options.init_from):  # what it begins with must not know the fold
            of_fold = [f"--init_from={options.init_from / f'fold{fold}'}"]
        status = _call([sys.executable, RUN_PY, *argv, "--n_folds=None", f"--val_fold={fold}",
                        f"--run_dir={folder}", *of_fold])
        if status:
            sys.exit(128 - status if status < 0 else status)
    if "val" in options.job:
        score(options.run_dir)


def fold_folders(folder):
    """The runs of the folds in a folder, by their number; [] where it is none of folds."""
    found = [path.parent for path in folder.glob("fold*/run.json") if path.parent.name[4:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[4:]))


def score(folder):
    """Prints the scores out of fold of the runs in `folder`, and writes them."""
    folders = fold_folders(folder)
    info = json.loads((folders[0] / "run.json").read_text(encoding="utf-8"))
    if info["task"] == "multilabel":
        return score_labels(folder, folders, info)
    known = None
    if info.get("known_classes"):
        known = known_classes(info["class_names"], info["known_classes"])

    def predictions():
        for path in folders:
            for file in sorted((path / "predictions").glob("*_val.npz")):
                ids, _, logits, labels = read_predictions(file, job="val")
                yield path.name[4:], ids, labels, logits
    table = fold_table(predictions(), known)
    write_fold_table(folder / "folds.csv", table)
    print(table.to_string(float_format="%.4f", na_rep=""))
    print(f"scores out of fold -> {folder / 'folds.csv'}")


def score_labels(folder, folders, info):
    """As `score`, of several labels; no fold has a say in its own thresholds."""
    parts = [read_predictions(next((path / "predictions").glob("*_val.npz")), job="val") for path in folders]
    folds = np.concatenate([np.full(len(part[0]), int(path.name[4:])) for path, part in zip(folders, parts)])
    if len(folders) < 2:
        print(f"scores out of fold need two folds, {folder} has one")
        return
    table = label_fold_table(folds, expit(np.concatenate([part[2] for part in parts])),
                             np.concatenate([part[3] for part in parts]) > 0, info["class_names"],
                             info["options"]["thresholds"])
    write_fold_table(folder / "folds.csv", table)
    print(table.to_string(float_format="%.4f", na_rep=""))
    print(f"scores out of fold -> {folder / 'folds.csv'}")


def _finished(folder, options, fold):
    """Is a run of these options there, trained to its end and validated?"""
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not info["finished"] or "val" in options.job and not (
                "validation" in info and list((folder / "predictions").glob("*_val.npz"))):
            return False
        ours, theirs = vars(options) | {"val_fold": fold}, info["options"]
        if options.init_from and fold_folders(options.init_from):
            ours["init_from"] = options.init_from / f"fold{fold}"
    except (OSError, ValueError, KeyError):
        return False
    text = lambda value: str(value) if isinstance(value, pathlib.Path) else value
    return not options.overwrite and all(json.loads(json.dumps(text(ours[name]))) == theirs.get(name)
                                         for name in set(ours) - FREE_OPTIONS | {"aux_features"})


def _call(command):
    """The exit status of a child that gets the signals of this process, and ends in its own way."""
    child = subprocess.Popen(list(map(str, command)))
    handlers = {number: signal.signal(number, lambda number, _: child.send_signal(number))
                for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return child.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
