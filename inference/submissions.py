"""submission.csv of the Kuzushiji competition: `image_id,labels`, labels `U+XXXX x y ...`."""
import csv
import io
import re

import numpy as np

from records.files import write_text

MOST_PER_PAGE = 1200  # characters, by the competition's rule


class SubmissionError(ValueError):
    """A submission that cannot be written, or one that is not of the competition's form."""


def centre_points(boxes):
    """Centre of each box, whole pixels (rounded down), int [n, 2]. boxes: [n, 4] x y w h."""
    boxes = np.asarray(boxes).reshape(-1, 4)
    return np.floor(boxes[:, :2] + boxes[:, 2:] / 2).astype(np.int64)


def write_submission(path, pages, image_ids, labels, points, confidence):
    """Writes a row for each of `pages` (list of image_id), in that order.

    image_ids, labels, confidence: [n] per character; points: int [n, 2]. Of a page with more than
    1,200 characters the most confident are kept. Returns the number left out.
    """
    by_page = {page: [] for page in pages}
    for number, image_id in enumerate(image_ids):
        if image_id not in by_page:
            raise SubmissionError(f"a character lies on page {image_id!r}, which is not among the "
                                  f"{len(by_page)} pages of the submission: give the right "
                                  "--sample_submission")
        by_page[image_id].append(number)
    text, left_out = io.StringIO(), 0
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "labels"])
    for page, numbers in by_page.items():
        if len(numbers) > MOST_PER_PAGE:
            best = sorted(numbers, key=lambda n: -confidence[n])[:MOST_PER_PAGE]
            left_out += len(numbers) - len(best)
            numbers = sorted(best)
        writer.writerow([page, " ".join(f"{labels[n]} {points[n][0]} {points[n][1]}"
                                        for n in numbers)])
    write_text(path, text.getvalue())
    return left_out


def read_submission(path):
    """{image_id: (labels, points int [n, 2])}. Raises SubmissionError naming file and row."""
    pages = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"image_id", "labels"} <= set(reader.fieldnames or []):
                raise SubmissionError(f"{path} must have the columns image_id and labels")
            for row in reader:
                where = f"{path}, row {reader.line_num}, page {row['image_id']}"
                fields = (row["labels"] or "").split()
                if len(fields) % 3:
                    raise SubmissionError(f"{where}: {len(fields)} fields, not a multiple of 3 "
                                          "(U+XXXX x y)")
                numbers = [f for i, f in enumerate(fields) if i % 3]
                wrong = [f for f in numbers if not re.fullmatch(r"-?\d{1,9}", f)]
                if wrong:
                    raise SubmissionError(f"{where}: {wrong[0]!r} is not a whole number")
                if len(fields) // 3 > MOST_PER_PAGE:
                    raise SubmissionError(f"{where}: {len(fields) // 3} characters, at most "
                                          f"{MOST_PER_PAGE} are allowed")
                if row["image_id"] in pages:
                    raise SubmissionError(f"{where}: the page stands there already")
                pages[row["image_id"]] = (fields[::3],
                                          np.array(numbers, np.int64).reshape(-1, 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"{path} cannot be read: {error}; --job=submit writes it"
                              ) from error
    return pages
