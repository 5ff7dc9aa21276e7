"""--job=ensemble: what several runs said of a store, as one; its folder is then used like a run's.

Their predictions (--job=test; those of --job=val too, where all have them) or detections (--job=detect)
are combined by id; no network is needed.
"""
import datetime
import json

import numpy as np

from inference.accuracy import accuracy_figures, cross_entropy
from inference.box_fusion import merge_detections
from inference.ensembles import check_members, combine, fit_weights
from inference.predict import PredictionError, read_predictions, save_predictions
from jobs.detect import read_found, save_found
from jobs.errors import OptionError, option_errors
from jobs.predictions import predictions_path
from jobs.run_directory import FORMAT_VERSION, Run, RunError, open_run


def run(session):
    o = session.options
    members = [open_run(path, o.task, option="--members") for path in o.members]
    with option_errors():
        check_members([str(m.folder) for m in members], [[]] * len(members),
                      [m.class_names for m in members])
        session.run = make_run(o, members)
        session.check_packing()
        if o.task == "detect":
            merge(session, members)
        else:
            classified(session, members, validated(session, members))


def make_run(o, members):
    """The ensemble's Run: its folder and run.json, as the jobs that follow read them."""
    first = members[0].info
    how = {name: getattr(o, name) for name in (
        ("merge", "merge_iou", "merge_classes", "rank_by") if o.task == "detect" else ("combine",))}
    members = [{"run": str(m.folder), "created": m.info["created"]} for m in members]
    info = {name: first.get(name) for name in ("task", "class_names", "input", "eval_crop", "classes")} | {
        "format_version": FORMAT_VERSION, "finished": True, "network": None,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "dataset": first["dataset"], "options": first["options"], "members": members, "how": how}
    path = o.run_dir / "run.json"
    if o.run_dir.exists() and any(o.run_dir.iterdir()) and not o.overwrite:
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
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
    """The members' weights, fitted if so asked; says what the ensemble scores on the validation that
    all of them have, if they do."""
    o = session.options
    files = [sorted((m.folder / "predictions").glob("*_val.npz")) for m in members]
    fit = o.member_weights == "fit"
    if not all(len(found) == 1 for found in files):
        if fit:
            odd = next(m for m, found in zip(members, files) if len(found) != 1)
            raise OptionError(f"--member_weights=fit needs one validation of each member (--job=val), "
                              f"{odd.folder}/predictions has not: validate it on the same records")
        return o.member_weights or None
    names = [str(path[0]) for path in files]
    every_ids, every_classes, logits, every_labels = zip(*(read_predictions(name, job="val")
                                                           for name in names))
    try:
        check_members(names, every_ids, every_classes)
    except ValueError:
        if fit:
            raise
        print("validation: none, as the members were validated on different records")
        return o.member_weights or None
    ids, classes, labels = every_ids[0], every_classes[0], every_labels[0]
    places = [{name: i for i, name in enumerate(theirs)} for theirs in every_ids]
    logits = [member[[place[name] for name in ids]] for member, place in zip(logits, places)]
    weights = o.member_weights or None
    if fit:
        weights, _ = fit_weights(logits, labels, o.combine)
        print("weights: " + ", ".join(f"{m.folder.name} {w:.3f}" for m, w in zip(members, weights)))
    together = combine(iter(logits), o.combine, weights)
    none_shared = np.zeros(len(labels), bool)
    figures = [accuracy_figures(labels, member.argmax(axis=1), cross_entropy(member, labels), none_shared)
               for member in (*logits, together)]
    shown = ", ".join(f"{figure['accuracy']:.4f}" for figure in figures[:-1])
    print(f"validation: accuracy {figures[-1]['accuracy']:.4f} together on {len(labels)} records "
          f"({shown} alone)")
    save_predictions(session.run.folder / "predictions" / f"{session.run.info['how']['combine']}_val.npz",
                     ids, classes, together, "", labels=labels)
    session.run.update(validation={k: round(v, 6) for k, v in figures[-1].items()},
                       weights=None if weights is None else [round(float(w), 6) for w in weights])
    return weights


def classified(session, members, weights):
    store, ids = session.store, session.store.manifest["id"].tolist()
    records = store.records_sha256  # members may have packed the same boxes in different ways

    def logits():  # each is read within the yield, so that none is held while the next is
        for member in members:
            yield read_predictions(predictions_path(session, run=member), ids, records=records)[2]
    try:
        together = combine(logits(), session.options.combine, weights)
    except PredictionError as error:
        raise OptionError(f"every member must have predicted {store.folder} (--job=test): {error}"
                          ) from error
    path = predictions_path(session)
    save_predictions(path, ids, session.run.class_names, together, store.own_sha256, records)
    print(f"ensemble: {len(members)} members, {session.options.combine}, {len(ids)} records -> {path}")


def merge(session, members):
    o = session.options
    found = [read_found(session, member) for member in members]
    pages = session.store.images()["image_id"].tolist()
    merged = merge_detections(found, pages, o.merge, o.merge_iou, weights=o.member_weights or None,
                              rank_by=o.rank_by, per_label=o.merge_classes == "apart")
    path = save_found(session, merged, pages, session.run.info["how"])
    print(f"ensemble: {len(members)} members, {o.merge} at IoU {o.merge_iou:g}, "
          f"{' + '.join(str(len(f)) for f in found)} boxes -> {len(merged)} -> {path}")
