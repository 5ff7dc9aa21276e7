"""--job=ensemble: what several runs said of a store, as one; its folder is then used like a run's.

Their predictions (--job=test) or detections (--job=detect) are combined by id; no network is needed. A
member may be a folder of folds: its runs are members then, and its validation is that of all folds. Where
all members have validated the same records, it is told what they score there, alone and together.
"""
import numpy as np

from inference.accuracy import accuracy_figures, cross_entropy
from inference.box_fusion import merge_detections
from inference.ensembles import check_members, combine, fit_weights
from inference.fold_scores import fold_table, write_fold_table
from inference.predict import PredictionError, read_predictions, save_predictions
from inference.turtle_submission import known_classes
from jobs import label_ensemble
from jobs.detect import read_found, save_found
from jobs.errors import OptionError, option_errors
from jobs.members import make_run, open_members, validation_of
from jobs.predictions import predictions_path


def run(session):
    o = session.options
    members = open_members(o)
    runs = [run for member in members for run in member]
    if len(runs) < 2:
        raise OptionError(f"--members={o.members[0]} is a single run: an ensemble has two or more, or a folder "
                          "of folds")
    if o.task == "multilabel":
        return label_ensemble.run(session, members)
    kinds = sorted({str(r.info.get("product_images") or "single") for r in runs})
    if len(kinds) > 1:
        raise OptionError(f"--members are of {' and of '.join(kinds)} images: --job=products makes one of them")
    how = ("merge", "merge_iou", "merge_classes", "rank_by") if o.task == "detect" else ("combine",)
    with option_errors():
        check_members([str(r.folder) for r in runs], [[]] * len(runs), [r.class_names for r in runs])
        session.run = make_run(o, runs, {name: getattr(o, name) for name in how})
        session.check_packing()
        if o.task == "detect":
            merge(session, runs)
        else:
            classified(session, members, validated(session, members))


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
