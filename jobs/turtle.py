"""Turtle Recall's own submission.csv and its score: of a run that knows some individuals and not others."""
from inference.predict import load_predictions
from inference.turtle_submission import (read_turtle_submission, read_turtle_truth, sample_image_ids,
                                         score_turtles, turtle_rows, write_turtle_submission)
from jobs.predictions import predictions_path


def is_meant(session):
    return bool(session.run.info.get("known_classes"))


def submit(session):
    ids, run = session.store.manifest["id"].tolist(), session.run
    classes, logits = load_predictions(predictions_path(session), ids, session.store.own_sha256)
    rows = turtle_rows(logits, classes, run.info["known_classes"])
    sample = session.options.sample_submission
    path = run.folder / "submission.csv"
    write_turtle_submission(path, ids, rows, sample_image_ids(sample) if sample else ids)
    new = sum(row[0] == "new_turtle" for row in rows.tolist())
    print(f"submission: {len(ids)} images, {new} of them most likely of a new turtle -> {path}")


def score(session):
    """Prints and returns the figures of the submission, for the table of scores."""
    path = session.run.folder / "submission.csv"
    figures = score_turtles(read_turtle_submission(path), read_turtle_truth(session.options.truth_csv),
                            set(session.run.info["known_classes"]))
    print(f"scored: accuracy {figures['accuracy']:.4f}, MAP@5 {figures['map_at_5']:.4f}, over known and new "
          f"-> {path}")
    return figures
