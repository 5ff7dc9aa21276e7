"""--job=ensemble of --task=multilabel: means of members, which may tell different labels.

So a network of one group of labels is joined with that of another, or helps one that tells all. On a
training store only the validation is combined, on a test store the predictions (--job=test) too.
"""
import numpy as np
from scipy.special import expit

from inference.ensembles import EnsembleError, check_members
from inference.label_ensembles import combine_labels, fit_label_weights
from inference.label_scores import halves, label_figures, told
from inference.predict import PredictionError, read_predictions, save_predictions
from jobs import multilabel
from jobs.errors import OptionError, option_errors
from jobs.members import make_run, validation_of
from jobs.predictions import predictions_path


def run(session, members):
    o = session.options
    names = list(dict.fromkeys(name for member in members for name in member[0].class_names))
    columns = [[names.index(name) for name in member[0].class_names] for member in members]
    with option_errors():
        session.run = make_run(o, [run for member in members for run in member],
                               {"combine": o.combine, "member_weights": str(o.member_weights)},
                               class_names=names, attribute_ids=attribute_ids(members, names))
        session.check_packing()
        weights = validated(session, members, columns)
        if session.store.info["source"] == "test":
            predicted(session, members, columns, weights)


def attribute_ids(members, names):
    numbers = {name: number for member in members for name, number in
               zip(member[0].class_names, member[0].info.get("attribute_ids") or [])}
    return [numbers[name] for name in names] if numbers else None


def validations(members, folders, columns, n_labels):
    """(ids, logits: list of float32 [n, own labels], truth bool [n, n_labels]) of all members, in one order."""
    folders, ids, classes, logits, labels = zip(*map(validation_of, members, folders))
    check_members(folders, ids, [[]] * len(ids))
    order = [{name: k for k, name in enumerate(own)} for own in ids]
    order = [[place[name] for name in ids[0]] for place in order]
    truth = np.zeros((len(ids[0]), n_labels), bool)
    for own, columns_, rows in zip(labels, columns, order):
        truth[:, columns_] = own[rows] > 0
    return ids[0], [own[rows] for own, rows in zip(logits, order)], truth


def folds_of(session, ids):
    """int [n]: the folds of the records in the store; of others, and without folds, two halves."""
    fold = dict(zip(session.store.manifest["id"], session.store.manifest["fold"]))
    found = np.array([fold.get(record_id, -1) for record_id in ids], int)
    return found if found.min() >= 0 and found.max() > found.min() else halves(ids)


def validated(session, members, columns):
    """The members' weights, fitted if so asked. Tells what they score alone and together."""
    o, run = session.options, session.run
    n_labels = len(run.class_names)
    ids, logits, truth = validations(members, o.members, columns, n_labels)
    folds = folds_of(session, ids)
    if o.member_weights == "fit":
        if any(own != list(range(n_labels)) for own in columns):
            raise EnsembleError("--member_weights=fit needs members of the same labels in the same order: join "
                                "those of different groups by an ensemble of their own")
        weights = fit_label_weights(logits, truth, o.combine)
        together = np.empty(truth.shape, np.float32)
        for fold in np.unique(folds):  # no record has a say in the weights that rate it
            out, rest = folds == fold, folds != fold
            own = fit_label_weights([part[rest] for part in logits], truth[rest], o.combine)
            together[out] = combine_labels([(c, part[out]) for c, part in zip(columns, logits)], n_labels,
                                           o.combine, own)
        print("weights: " + ", ".join(f"{path.name} {w:.3f}" for path, w in zip(o.members, weights)))
    else:
        weights = o.member_weights or None
        together = combine_labels(zip(columns, logits), n_labels, o.combine, weights)
    for folder, own, part in zip(o.members, columns, logits):
        names = [run.class_names[k] for k in own]
        print(f"  {folder}: {told(label_figures(expit(part), truth[:, own], folds, names)[0])}")
    figures = multilabel.validated(session, ids, together, truth, folds)
    print(f"validation: {told(figures)} together on {len(ids)} records -> {run.folder}")
    save_predictions(run.folder / "predictions" / f"{o.combine}_val.npz", ids, run.class_names, together, "",
                     labels=truth)
    return weights


def predicted(session, members, columns, weights):
    store = session.store
    ids, records = store.manifest["id"].tolist(), store.records_sha256
    try:
        logits = (mean_prediction(session, member, ids, records) for member in members)
        together = combine_labels(zip(columns, logits), len(session.run.class_names), session.options.combine,
                                  weights)
    except PredictionError as error:
        raise OptionError(f"every member must have predicted {store.folder} (--job=test): {error}") from error
    path = predictions_path(session)
    save_predictions(path, ids, session.run.class_names, together, store.own_sha256, records)
    print(f"ensemble: {len(members)} members, {session.options.combine}, {len(ids)} records -> {path}")


def mean_prediction(session, member, ids, records):
    """Logits float32 [n, labels]: the mean of a member's runs."""
    total = 0.0
    for run in member:
        total = total + read_predictions(predictions_path(session, run=run), ids, records=records)[2]
    return total / np.float32(len(member))
