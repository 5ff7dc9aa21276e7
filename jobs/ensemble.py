"""--job=ensemble: what several runs said of a store, as one; its folder is then used like a run's.

Their predictions (--job=test) or detections (--job=detect) are combined by id; no network is needed. A
member may be a folder of folds: its runs are members then, and its validation is that of all folds. Where
all members have validated the same records, it is told what they score there, alone and together.
"""
import datetime
import json

import numpy as np

from inference.accuracy import accuracy_figures, cross_entropy
from inference.box_fusion import merge_detections
from inference.ensembles import check_members, combine, fit_weights
from inference.fold_scores import fold_table, write_fold_table
from inference.predict import PredictionError, read_predictions, save_predictions
from inference.turtle_submission import known_classes
from jobs.detect import read_found, save_found
from jobs.errors import OptionError, option_errors
from jobs.folds import fold_folders
from jobs.predictions import predictions_path
from jobs.run_directory import FORMAT_VERSION, Run, RunError, open_run


def run(session):
    o = session.options
    members = [[open_run(path, o.task, option="--members") for path in fold_folders(folder) or [folder]]
               for folder in o.members]  # the runs of each
    runs = [run for member in members for run in member]
    with option_errors():
        check_members([str(r.folder) for r in runs], [[]] * len(runs), [r.class_names for r in runs])
        session.run = make_run(o, runs)
        session.check_packing()
        if o.task == "detect":
            merge(session, runs)
        else:
            classified(session, members, validated(session, members))


def make_run(o, runs):
    """The ensemble's Run: its folder and run.json, as the jobs that follow read them."""
    first = runs[0].info
    how = {name: getattr(o, name) for name in (
        ("merge", "merge_iou", "merge_classes", "rank_by") if o.task == "detect" else ("combine",))}
    members = [{"run": str(r.folder), "created": r.info["created"]} for r in runs]
    info = {name: first.get(name) for name in ("task", "class_names", "input", "eval_crop", "classes",
                                               "known_classes", "dataset", "options")} | {
        "format_version": FORMAT_VERSION, "finished": True, "network": None, "members": members, "how": how,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
    if o.run_dir.exists() and any(o.run_dir.iterdir()) and not o.overwrite:
        try:
            old = json.loads((o.run_dir / "run.json").read_text(encoding="utf-8"))
            if (old["members"], old["how"]) == (members, how):
                return Run(o.run_dir, old)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{o.run_dir} holds something else than this ensemble: pass --overwrite to replace "
                       "it, or give another --run_dir")
    o.run_dir.mkdir(parents=True, exist_ok=True)
    made = Run(o.run_dir, info)
    made.update()
    return made


def validated(session, members):
    """The members' weights, fitted if so asked; tells of the validation that all of them have."""
    o = session.options
    fit, weights = o.member_weights == "fit", o.member_weights or None
    try:
        names, ids, classes, logits, labels = zip(*(validation_of(member, folder)
                                                    for member, folder in zip(members, o.members)))
        check_members(names, ids, classes)
    except ValueError as error:
        if fit:
            raise
        print(f"validation: none that all members share ({error})")
        return weights
    places = [{name: i for i, name in enumerate(theirs)} for theirs in ids]
    logits = [theirs[[place[name] for name in ids[0]]] for theirs, place in zip(logits, places)]
    labels, run = labels[0], session.run
    if fit:
        weights, _ = fit_weights(logits, labels, o.combine)
        print("weights: " + ", ".join(f"{folder.name} {w:.3f}" for folder, w in zip(o.members, weights)))
    together = combine(iter(logits), o.combine, weights)
    none_shared = np.zeros(len(labels), bool)
    figures = [accuracy_figures(labels, theirs.argmax(axis=1), cross_entropy(theirs, labels), none_shared)
               for theirs in (*logits, together)]
    alone = ", ".join(f"{figure['accuracy']:.4f}" for figure in figures[:-1])
    print(f"validation: accuracy {figures[-1]['accuracy']:.4f} together on {len(labels)} records "
          f"({alone} alone)")
    known = run.info.get("known_classes")
    table = fold_table([(0, ids[0], labels, together)],
                       known and known_classes(run.class_names, known)).loc[["together"]]
    write_fold_table(run.folder / "folds.csv", table)
    print(table.to_string(float_format="%.4f"))
    save_predictions(run.folder / "predictions" / f"{o.combine}_val.npz", ids[0], classes[0], together, "",
                     labels=labels)
    run.update(validation={k: round(v, 6) for k, v in figures[-1].items()},
               weights=None if weights is None else [round(float(w), 6) for w in weights])
    return weights


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


def classified(session, members, weights):
    store, ids = session.store, session.store.manifest["id"].tolist()
    records = store.records_sha256  # members may have packed the same boxes in different ways
    shares = [weight / len(member) for weight, member in zip(
        [1] * len(members) if weights is None else weights, members) for _ in member]

    def logits():  # each is read within the yield, so that none is held while the next is
        for member in members:
            for run in member:
                yield read_predictions(predictions_path(session, run=run), ids, records=records)[2]
    try:
        together = combine(logits(), session.options.combine, shares)
    except PredictionError as error:
        raise OptionError(f"every member must have predicted {store.folder} (--job=test): {error}"
                          ) from error
    path = predictions_path(session)
    save_predictions(path, ids, session.run.class_names, together, store.own_sha256, records)
    print(f"ensemble: {len(shares)} runs, {session.options.combine}, {len(ids)} records -> {path}")


def merge(session, runs):
    o = session.options
    found = [read_found(session, run) for run in runs]
    pages = session.store.images()["image_id"].tolist()
    merged = merge_detections(found, pages, o.merge, o.merge_iou, weights=o.member_weights or None,
                              rank_by=o.rank_by, per_label=o.merge_classes == "apart")
    path = save_found(session, merged, pages, session.run.info["how"])
    print(f"ensemble: {len(runs)} runs, {o.merge} at IoU {o.merge_iou:g}, "
          f"{' + '.join(str(len(f)) for f in found)} boxes -> {len(merged)} -> {path}")
