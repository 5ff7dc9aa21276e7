"""--job=submit: predictions -> submission.csv, and one page drawn with what was read on it."""
import numpy as np
import pandas as pd

from inference.kuzushiji_score import match_page
from inference.predict import load_predictions
from inference.submissions import centre_points, write_submission
from jobs.errors import OptionError
from jobs.test import predictions_path
from records.annotations import read_truth
from records.images import BadImage, decode_image
from reports.page_overlay import draw_page


def run(session):
    store, options = session.store, session.options
    manifest = store.manifest
    if manifest["x"].isna().any():
        raise OptionError(f"{store.folder} holds whole images, not boxes of pages: there is no "
                          "submission to write; the predictions are in "
                          f"{predictions_path(session)}")
    classes, logits = load_predictions(predictions_path(session), manifest["id"].tolist())
    labels = np.array(classes)[logits.argmax(axis=1)]
    confidence = _softmax_of_the_best(logits)
    boxes = manifest[["x", "y", "w", "h"]].to_numpy(np.int64)
    points = centre_points(boxes)
    path = session.run.folder / "submission.csv"
    order = _file_order(manifest["id"])
    left_out = write_submission(path, _pages(session), manifest["image_id"].to_numpy()[order],
                                labels[order], points[order], confidence[order])
    more = f", {left_out} beyond 1,200 on a page left out" if left_out else ""
    print(f"submission: {len(labels)} characters{more} -> {path}")
    if options.data_dir:
        _draw(session, labels, boxes, points)


def _softmax_of_the_best(logits):
    return 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)


def _file_order(ids):
    """Shard order -> the order of the boxes in the annotations (ids end in `:number`)."""
    parts = ids.str.rsplit(":", n=1, expand=True)
    return np.lexsort([parts[1].astype(int), parts[0]])


def _pages(session):
    if session.options.sample_submission:
        try:
            return pd.read_csv(session.options.sample_submission, dtype=str)["image_id"].tolist()
        except (OSError, KeyError, ValueError) as error:
            raise OptionError(f"--sample_submission={session.options.sample_submission} cannot be "
                              f"read ({error}): it must have a column image_id") from error
    return session.store.images()["image_id"].tolist()


def _draw(session, labels, boxes, points):
    """The page with the most characters, as a PNG: right and wrong in colour where truth is known."""
    data_dir = session.options.data_dir
    manifest = session.store.manifest
    page = manifest["image_id"].value_counts().sort_index().idxmax()
    candidates = [data_dir / folder / f"{page}.jpg" for folder in ("test_images", "train_images", "")]
    path = next((c for c in candidates if c.is_file()), None)
    if path is None:
        raise OptionError(f"--data_dir={data_dir} has no page {page}.jpg, neither in test_images "
                          "nor in train_images")
    try:
        image = decode_image(path.read_bytes())
    except BadImage as error:
        raise OptionError(f"{path}: {error}") from error
    rows = np.flatnonzero((manifest["image_id"] == page).to_numpy())
    right = None
    if session.options.truth_csv:
        truth = read_truth(session.options.truth_csv)
        if page not in truth:
            raise OptionError(f"{session.options.truth_csv} lacks page {page!r}")
        true_labels, true_boxes = truth[page]
        matches = match_page(true_labels, true_boxes, labels[rows].tolist(), points[rows])
        right = np.isin(np.arange(len(rows)), matches)
    out = session.run.folder / f"page_{page}.png"
    draw_page(out, image, boxes[rows], labels[rows], right)
    print(f"drawn: {len(rows)} characters of page {page} -> {out}")
