"""Where a reader of columns and a reading of single characters differ: a second opinion, to look at pages by.

  python -m reports.second_opinion --data_tfrec_dir=COLUMNS --texts=RUN/texts/test.csv \\
    --submission=runs/kuzushiji/joined/submission.csv --out_csv=opinions.csv

COLUMNS is the store of the columns that the CRNN has read (create_tfrecords.py --records=columns --source=test,
with --detections), texts what it read (run.py --task=text --job=test), the submission what was read of single
characters. A character belongs to the column in whose box its point lies, of several to the one whose middle is the
nearest. OUT_CSV has a row for each column, those that differ most first: id, image_id, x, y, w, h (px of the page),
characters, columns (what each of them reads from top to bottom), confidence, edits (fewest insertions, deletions and
replacements from one to the other). Memory: the texts and points of all pages.
"""
import sys

from arguments import Parser, path


class OpinionError(ValueError):
    """Readings that are not of the same pages or records."""


def parse_options(argv):
    parser = Parser(prog="python -m reports.second_opinion",
                    description="Compares what a CRNN reads of whole columns with characters read one by one.",
                    usage="python -m reports.second_opinion [options]")
    parser.add_argument("--data_tfrec_dir", type=path, required=True, help="store of columns")
    parser.add_argument("--texts", type=path, required=True, help="RUN/texts/NAME.csv of these columns")
    parser.add_argument("--submission", type=path, required=True, help="image_id,labels of the same pages")
    parser.add_argument("--out_csv", type=path, required=True, help="table to write")
    return parser.parse_args(argv)


def main(argv=None):
    from inference.submissions import SubmissionError
    from records.store import StoreError
    options = parse_options(argv)
    try:
        second_opinion(options)
    except (OpinionError, SubmissionError, StoreError, OSError) as error:
        sys.exit(f"second_opinion: {error}")


def second_opinion(options):
    """Writes the table and says how many columns are alike."""
    import pandas as pd
    from inference.submissions import read_submission
    from inference.text_scores import edit_distances
    from records.files import write_text
    from records.store import open_store

    columns = open_store(options.data_tfrec_dir).manifest[["id", "image_id", "x", "y", "w", "h"]]
    try:
        texts = pd.read_csv(options.texts, dtype={"id": str, "text": str}, keep_default_na=False).set_index("id")
        texts = texts[["text", "confidence"]]
    except (ValueError, KeyError) as error:
        raise OpinionError(f"{options.texts} must have the columns id,text,confidence ({error})") from error
    if sorted(texts.index) != sorted(columns["id"]):
        raise OpinionError(f"{options.texts} is not of the {len(columns)} columns of {options.data_tfrec_dir}: read "
                           "them with run.py --task=text --job=test")
    pages = read_submission(options.submission)
    missing = sorted(set(columns["image_id"]) - set(pages))
    if missing:
        raise OpinionError(f"{options.submission} lacks {len(missing)} pages of the columns, the first {missing[0]!r}")
    table = columns.assign(characters="", columns=texts.loc[columns["id"], "text"].to_numpy(),
                           confidence=texts.loc[columns["id"], "confidence"].to_numpy())
    for page, rows in columns.groupby("image_id").groups.items():
        boxes = columns.loc[rows, ["x", "y", "w", "h"]].to_numpy(float)
        table.loc[rows, "characters"] = in_columns(*pages[page], boxes)
    table["edits"] = edit_distances(table["columns"].tolist(), table["characters"].tolist())
    order = table.sort_values("edits", ascending=False, kind="stable")
    options.out_csv.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out_csv, order.to_csv(index=False, lineterminator="\n"))
    alike, characters = int((table["edits"] == 0).sum()), int(table["characters"].str.len().sum())
    print(f"second opinion: {alike} of {len(table)} columns are read alike, {table['edits'].sum()} edits to "
          f"{characters} characters -> {options.out_csv}")


def in_columns(labels, points, boxes):
    """List of str, what is read in each column from top to bottom.

    labels: n of the form U+XXXX. points: int [n, 2], x y px. boxes: float [columns, 4], x y w h px. A point in no
    box belongs to none.
    """
    import numpy as np
    x, y, w, h = boxes.T
    px, py = np.asarray(points, float).reshape(-1, 2).T[..., None]  # [n, 1]
    inside = (px >= x) & (px < x + w) & (py >= y) & (py < y + h)
    own = np.where(inside, np.abs(px - (x + w / 2)), np.inf)
    texts = [[] for _ in boxes]
    for place in np.argsort(py[:, 0], kind="stable"):
        if inside[place].any():
            texts[own[place].argmin()].append(chr(int(labels[place].removeprefix("U+"), 16)))
    return ["".join(text) for text in texts]


if __name__ == "__main__":
    main()
