"""What the jobs of --task=multilabel share: F2 of a validation, the submission, its score."""
import numpy as np
from scipy.special import expit

from inference.accuracy import cross_entropy
from inference.label_scores import fit_thresholds, halves, label_figures, named_f2, told
from inference.label_submissions import read_labels, write_label_submission
from inference.multilabel import apply_thresholds
from inference.predict import load_predictions
from inference.submissions import SubmissionError
from inference.turtle_submission import sample_image_ids
from jobs.errors import OptionError
from jobs.predictions import predictions_path


def while_training(session, logits, loss):
    """Figures of a validation that only choose the best epoch: with the thresholds best for it."""
    truth = session.labels[session.rows[1]] > 0
    probabilities, names = expit(logits), session.class_names
    thresholds = fit_thresholds(probabilities, truth, names)
    return {"loss": float(np.mean(loss)), **named_f2(truth, apply_thresholds(probabilities, thresholds), names)}


def validated(session, ids, logits, truth, folds=None):
    """Figures of a validation, with thresholds that no record has a say in which they rate; those of all
    are kept in run.json. truth: bool [n, k]. folds: int [n]; None: two halves."""
    if len(ids) < 2:
        raise OptionError("thresholds need two validation records at least: one to fit, one to rate")
    folds = halves(ids) if folds is None else folds
    names = session.run.class_names
    figures, thresholds = label_figures(expit(logits), truth, folds, names, session.options.thresholds)
    figures = {"loss": float(np.mean(cross_entropy(logits, truth))), **figures}
    session.run.update(validation={k: round(v, 6) for k, v in figures.items()},
                       thresholds=[round(float(t), 8) for t in thresholds])
    return figures


def given_labels(session):
    """(class names, bool [n, k]: the labels that the run gives the store's records, their probabilities)."""
    run, ids = session.run, session.store.manifest["id"].tolist()
    classes, logits = load_predictions(predictions_path(session), ids, session.store.own_sha256)
    if "thresholds" not in run.info:
        raise OptionError(f"{run.folder} has no thresholds: make them with --job=val, or of an ensemble from "
                          "members that have validated")
    probabilities = expit(logits)
    return classes, apply_thresholds(probabilities, run.info["thresholds"],
                                     session.options.least_labels), probabilities


def submit(session):
    o, run, ids = session.options, session.run, session.store.manifest["id"].tolist()
    classes, given, _ = given_labels(session)
    sample = sample_image_ids(o.sample_submission, "id") if o.sample_submission else None
    path = run.folder / "submission.csv"
    write_label_submission(path, ids, given, classes, sample, run.info.get("attribute_ids"))
    print(f"submission: {len(ids)} images, {given.sum() / max(len(ids), 1):.2f} labels each -> {path}")


def score(session):
    """Prints and returns the figures of the submission, for the table of scores."""
    run, path = session.run, session.run.folder / "submission.csv"
    how = run.class_names, run.info.get("attribute_ids")
    (ids, given), (true_ids, truth) = read_labels(path, *how), read_labels(session.options.truth_csv, *how)
    place = {name: k for k, name in enumerate(ids)}
    odd = sorted(set(ids) ^ set(true_ids))
    if odd:
        raise SubmissionError(f"{path} and {session.options.truth_csv} do not have the same images ({len(odd)} "
                              f"only in one, for instance {odd[0]!r})")
    figures = named_f2(truth, given[[place[name] for name in true_ids]], run.class_names)
    print(f"scored: {told(figures)} on {len(ids)} images -> {path}")
    return figures
