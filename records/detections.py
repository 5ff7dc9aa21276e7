"""Detections: `image_id,x,y,w,h,score,label,label_score`, the boxes that a detector found on pages.

x y w h are px of the page, from its top-left corner, with fractions. score is the box's and
label_score the label's, 0..1. A detector that only finds leaves the label empty, and may leave
label_score so.
"""
import math

import numpy as np
import pandas as pd

from records.annotations import AnnotationError, Problem, csv_rows
from records.files import write_text

NUMBERS = ("x", "y", "w", "h", "score", "label_score")
COLUMNS = ("image_id", "x", "y", "w", "h", "score", "label", "label_score")
LARGEST = 1e9  # px


def read_detections(path):
    """DataFrame of COLUMNS in the file's order: image_id and label str, the others float64.

    label_score is NaN where it is empty. Other columns are not read. Raises AnnotationError naming
    file and row.
    """
    rows = []
    for row_number, row in csv_rows(path, COLUMNS):
        try:
            rows.append(_values(row))
        except ValueError as error:
            raise AnnotationError(f"{path}, row {row_number}: {error}") from error
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        {"image_id": object, "label": object} | dict.fromkeys(NUMBERS, np.float64))


def write_detections(path, frame):
    """Writes a DataFrame that has COLUMNS, whole or not at all; others are kept behind them.

    Raises ValueError for what read_detections would refuse.
    """
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"detections must have the columns {', '.join(COLUMNS)}; "
                         f"{', '.join(missing)} missing")
    for place, row in enumerate(frame[list(COLUMNS)].to_dict("records")):
        try:
            _values(row)
        except ValueError as error:
            raise ValueError(f"detection {place} (the first is 0): {error}") from error
    others = [name for name in frame if name not in COLUMNS]
    write_text(path, frame[[*COLUMNS, *others]].to_csv(index=False, lineterminator="\n"))


def add_detections(pages, path, labelled=False):
    """Gives `pages` (list of SourceImage, without boxes) those of a file; returns its problems.

    labelled: their labels too, which then must be there. Whether they lie on their page check_image
    tells, which knows its size.
    """
    found = {page.image_id: [] for page in pages}
    labels = {page.image_id: [] for page in pages}
    seen = dict.fromkeys(found, 0)
    problems = []
    for row_number, row in csv_rows(path, COLUMNS):
        image_id = row["image_id"]
        try:
            if image_id not in found:
                raise ValueError(f"image_id {image_id!r} is none of the {len(pages)} pages")
            seen[image_id] += 1
            values = _values(row)
            if labelled and not row["label"]:
                raise ValueError("the label is empty")
            found[image_id].append((row_number, seen[image_id] - 1, *values[1:6]))
            labels[image_id].append(row["label"] if labelled else "")
        except ValueError as error:
            problems.append(Problem(str(path), row_number, str(error)))
    for page in pages:
        numbered = np.array(found[page.image_id], np.float64).reshape(-1, 7)
        rows, page.numbers = numbered[:, :2].astype(np.int64).T
        page.boxes, page.scores, page.labels = numbered[:, 2:6], numbered[:, 6], labels[page.image_id]
        page.detected = str(path), rows
    return problems


def _values(row):
    """The row as a list in the order of COLUMNS. Raises ValueError saying what is wrong with it."""
    if not isinstance(row["image_id"], str) or not row["image_id"]:
        raise ValueError(f"image_id {row['image_id']!r} must be text that is not empty")
    if not isinstance(row["label"], str):
        raise ValueError(f"label {row['label']!r} is not text")
    values = []
    for name in COLUMNS:
        value = row[name]
        if name in NUMBERS:
            try:
                value = float(value) if value != "" else math.nan
            except (TypeError, ValueError):
                raise ValueError(f"{name} {row[name]!r} is not a number") from None
            unsaid = name == "label_score" and row["label"] == "" and math.isnan(value)
            if not abs(value) < LARGEST and not unsaid:
                raise ValueError(f"{name} {row[name]!r} must be a finite number below {LARGEST:g}")
            if name.endswith("score") and not unsaid and not 0 <= value <= 1:
                raise ValueError(f"{name} {row[name]!r} must be from 0 to 1")
            if name in ("w", "h") and value < 0:
                raise ValueError(f"{name} {row[name]!r} must not be negative")
        values.append(value)
    return values
