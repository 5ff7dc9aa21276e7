"""--job=submit: what was read -> submission.csv, and one page drawn with it."""
import numpy as np
import pandas as pd

from inference.kuzushiji_score import match_page
from inference.submissions import centre_points, write_submission
from jobs import multilabel, product_submission, turtle
from jobs.errors import OptionError
from jobs.readings import sound_readings
from records.annotations import find_image, read_truth
from records.images import BadImage, decode_image
from reports.page_overlay import draw_page


def run(session):
    if session.options.task == "multilabel":
        return multilabel.submit(session)
    for kind in (turtle, product_submission):
        if kind.is_meant(session):
            return kind.submit(session)
    read = with_points(sound_readings(session))
    spaced = next((label for label in session.run.class_names if " " in label), None)
    if spaced is None:
        path = session.run.folder / "submission.csv"
        left_out = write_submission(path, _pages(session), read["image_id"].to_numpy(),
                                    read["label"].to_numpy(), read[["at_x", "at_y"]].to_numpy(),
                                    (read["score"] * read["label_score"]).to_numpy())
        more = f", {left_out} beyond 1,200 on a page left out" if left_out else ""
        print(f"submission: {len(read)} characters{more} -> {path}")
    else:  # the form separates by spaces
        print(f"submission: none, as it has no room for class names with spaces ({spaced!r})")
    if session.options.data_dir and len(read):
        _draw(session, read)


def with_points(read):
    """The readings with at_x, at_y, the point of each that is submitted, whole px."""
    points = centre_points(read[list("xywh")].to_numpy())
    return read.assign(at_x=points[:, 0], at_y=points[:, 1])


def _pages(session):
    if session.options.sample_submission:
        try:
            return pd.read_csv(session.options.sample_submission, dtype=str)["image_id"].tolist()
        except (OSError, KeyError, ValueError) as error:
            raise OptionError(f"--sample_submission={session.options.sample_submission} cannot be "
                              f"read ({error}): it must have a column image_id") from error
    return session.store.images()["image_id"].tolist()


def _draw(session, read):
    """The page with the most characters, as a PNG; where truth is known, what is right and wrong."""
    data_dir = session.options.data_dir
    page = read["image_id"].value_counts().sort_index().idxmax()
    found = (find_image(folder, page)
             for folder in (data_dir / "test_images", data_dir / "train_images", data_dir))
    path = next((path for path in found if path), None)
    if path is None:
        raise OptionError(f"--data_dir={data_dir} has no image of page {page}, neither in "
                          "test_images nor in train_images")
    try:
        image = decode_image(path.read_bytes())
    except BadImage as error:
        raise OptionError(f"{path}: {error}") from error
    here = read[read["image_id"] == page]
    right = missed = None
    if session.options.truth_csv:
        truth = read_truth(session.options.truth_csv)
        if page not in truth:
            raise OptionError(f"{session.options.truth_csv} lacks page {page!r}")
        labels, boxes = truth[page]
        matches = np.array(match_page(labels, boxes, here["label"].tolist(),
                                      here[["at_x", "at_y"]].to_numpy()), int)
        right = np.isin(np.arange(len(here)), matches)
        lost = np.flatnonzero(matches < 0)
        missed = boxes[lost], [labels[i] for i in lost]
    out = session.run.folder / f"page_{page.replace('/', '_')}.png"
    draw_page(out, image, here[list("xywh")].to_numpy(), here["label"].tolist(), right, missed)
    print(f"drawn: {len(here)} characters of page {page} -> {out}")
