"""--job=submit of a run that knows some individuals and not others: Turtle Recall's submission.csv."""
from inference.predict import load_predictions
from inference.turtle_submission import sample_image_ids, turtle_rows, write_turtle_submission
from jobs.predictions import predictions_path


def run(session):
    ids, run = session.store.manifest["id"].tolist(), session.run
    classes, logits = load_predictions(predictions_path(session), ids, session.store.own_sha256)
    rows = turtle_rows(logits, classes, run.info["known_classes"])
    sample = session.options.sample_submission
    path = run.folder / "submission.csv"
    write_turtle_submission(path, ids, rows, sample_image_ids(sample) if sample else ids)
    new = sum(row[0] == "new_turtle" for row in rows.tolist())
    print(f"submission: {len(ids)} images, {new} of them most likely of a new turtle -> {path}")
