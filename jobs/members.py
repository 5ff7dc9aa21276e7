"""--members: several runs, or folders of the runs of all folds, that are one run together."""
import datetime
import json

import numpy as np

from inference.predict import read_predictions
from jobs.errors import OptionError
from jobs.folds import fold_folders
from jobs.run_directory import FORMAT_VERSION, Run, RunError, open_run


def open_members(o):
    """The runs of each of --members: a list of lists of Run."""
    return [[open_run(path, o.task, option="--members") for path in fold_folders(folder) or [folder]]
            for folder in o.members]


def make_run(o, runs, how, **more):
    """The Run of members together: its folder and run.json, as the jobs that follow read them.

    how: dict of the options that make it another one. more: entries of run.json that are not the first
    member's.
    """
    first = runs[0].info
    members = [{"run": str(r.folder), "created": r.info["created"]} for r in runs]
    info = {name: first.get(name) for name in ("task", "class_names", "input", "eval_crop", "classes",
                                               "known_classes", "attribute_ids", "dataset", "options",
                                               "product_images", "class_levels")} | {
        "format_version": FORMAT_VERSION, "finished": True, "network": None, "members": members, "how": how,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds")} | more
    if o.run_dir.exists() and any(o.run_dir.iterdir()) and not o.overwrite:
        try:
            old = json.loads((o.run_dir / "run.json").read_text(encoding="utf-8"))
            if (old["members"], old["how"]) == (members, how):
                return Run(o.run_dir, old)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{o.run_dir} holds something else than these members together: pass --overwrite to replace "
                       "it, or give another --run_dir")
    o.run_dir.mkdir(parents=True, exist_ok=True)
    made = Run(o.run_dir, info)
    made.update()
    return made


def validation_of(member, folder):
    """(folder as str, ids, class names, logits, labels) of the validations of a member's runs."""
    parts = []
    for run in member:
        files = sorted((run.folder / "predictions").glob("*_val.npz"))
        if len(files) != 1:
            raise OptionError(f"{run.folder}/predictions has {len(files)} validations, not one: make it with "
                              "--job=val")
        parts.append(read_predictions(files[0], job="val"))
    ids, classes, logits, labels = zip(*parts)
    return (str(folder), [name for part in ids for name in part], classes[0], np.concatenate(logits),
            np.concatenate(labels))
