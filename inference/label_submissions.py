"""submission.csv of several labels: `id,attribute_ids` (iMet), or `id,labels` with names parted by |."""
import csv
import io

import numpy as np

from inference.submissions import SubmissionError
from records.annotations import AnnotationError, csv_rows
from records.files import write_text


def write_label_submission(path, ids, given, names, sample_ids=None, numbers=None):
    """Writes a row for each of sample_ids (default: ids), in their order.

    ids: str [n], each once. given: bool [n, k]. names: of the labels; numbers: int [k], with which iMet
    calls them, or None. Raises SubmissionError, before anything is written.
    """
    place = {record_id: row for row, record_id in enumerate(ids)}
    wanted = ids if sample_ids is None else sample_ids
    odd = sorted(set(place) ^ set(wanted))
    if odd or len(place) < len(ids) or len(set(wanted)) < len(wanted):
        raise SubmissionError(f"{path} is not written: the sample and the predictions must name the same "
                              f"images, each once" + (f"; {len(odd)} are in one only, the first {odd[0]!r}"
                                                      if odd else ""))
    texts, joint = (names, "|") if numbers is None else (list(map(str, numbers)), " ")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "labels" if numbers is None else "attribute_ids"])
    writer.writerows([i, joint.join(texts[k] for k in np.flatnonzero(given[place[i]]))] for i in wanted)
    write_text(path, text.getvalue())


def read_labels(path, names, numbers=None):
    """(ids, bool [n, k]) of a file of that form: of a submission, or of the truth.

    Labels that are none of the names are left out: a run may know only some. Raises SubmissionError
    naming file and row.
    """
    column, joint = ("labels", "|") if numbers is None else ("attribute_ids", None)
    code = {str(name): k for k, name in enumerate(names if numbers is None else numbers)}
    ids, rows, seen = [], [], set()
    try:
        for number, row in csv_rows(path, ("id", column)):
            if not row["id"] or row["id"] in seen:
                raise SubmissionError(f"{path}, row {number}: " + (f"{row['id']!r} stands there already"
                                                                    if row["id"] else "an id is needed"))
            seen.add(row["id"])
            ids.append(row["id"])
            rows.append([code[word] for word in (row[column] or "").split(joint) if word in code])
    except AnnotationError as error:
        raise SubmissionError(str(error)) from error
    matrix = np.zeros((len(ids), len(code)), bool)
    for k, columns in enumerate(rows):
        matrix[k, columns] = True
    return ids, matrix
