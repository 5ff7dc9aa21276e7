"""submission.csv of Turtle Recall: `image_id,prediction1..prediction5`, turtle ids or `new_turtle`."""
import csv
import io

import numpy as np

from inference.ranking import NEW, top_k_known
from inference.submissions import SubmissionError
from records.annotations import AnnotationError, csv_rows
from records.files import write_text

NEW_TURTLE = "new_turtle"
N_PREDICTIONS = 5
COLUMNS = ("image_id", *(f"prediction{place}" for place in range(1, N_PREDICTIONS + 1)))


def known_classes(class_names, known_ids):
    """bool [classes]: which of `class_names` are among `known_ids`, those of train.csv.

    Raises SubmissionError for a known id that is no class, and so could never be predicted.
    """
    known_ids = set(known_ids)
    if NEW_TURTLE in known_ids:
        raise SubmissionError(f"{NEW_TURTLE!r} stands for all that are not known: leave it out of the "
                              "known ids")
    strange = known_ids - set(class_names)
    if strange:
        raise SubmissionError(f"{len(strange)} of {len(known_ids)} known ids are none of the "
                              f"{len(class_names)} classes (the first: {min(strange)!r}): give the ids "
                              "of the data that the model was trained on")
    return np.array([name in known_ids for name in class_names], bool)


def turtle_rows(scores, class_names, known_ids, new_score=None):
    """The five names of each record, best first, no name twice: str [n, 5].

    scores: float [n, classes], probabilities or anything that rises with them. By the published
    rule an id outside `known_ids` becomes new_turtle, and its repeats give their places to the known
    ids next in order, at the end of the row. Of equal scores the class that comes first wins.

    new_score: float [n], or one number for all; new_turtle's own score, for instance from
    inference.neighbours, in place of those of the classes outside the known. It stands at the place
    that it deserves: behind the known ids whose score is as high or higher, so first where all are
    below; and not at all behind five. Raises SubmissionError with fewer than five names to give
    (four known ids do if there can be a new_turtle), ValueError for scores of a wrong form.
    """
    known = known_classes(class_names, known_ids)
    others = new_score is not None or not known.all()
    if not known.any() or known.sum() + others < N_PREDICTIONS:
        raise SubmissionError(f"a row has {N_PREDICTIONS} different names, but there are "
                              f"{known.sum()} known ids{' and ' + NEW_TURTLE if others else ''}: give "
                              f"{N_PREDICTIONS} known ids at least")
    names = np.array([*class_names, NEW_TURTLE], str)  # NEW is -1, the last of them
    return names[top_k_known(scores, known, N_PREDICTIONS, new_score)]


def sample_image_ids(path, column=COLUMNS[0]):
    """The image ids of a sample submission, list, in its order; its predictions are not looked at.

    Raises SubmissionError naming file and row.
    """
    return [image_id for image_id, _, _ in _rows(path, (column,))]


def write_turtle_submission(path, image_ids, rows, sample_ids):
    """Writes a row for each of `sample_ids`, in their order.

    image_ids: str [n], each once, the same ids in any order; rows: str [n, 5]. Raises
    SubmissionError, before anything is written.
    """
    by_id = {}
    for image_id, row in zip(image_ids, rows, strict=True):
        fault = _fault(list(row))
        if fault or image_id in by_id:
            raise SubmissionError(f"image {image_id!r}: {fault or 'it comes twice'}")
        by_id[image_id] = row
    wanted = set(sample_ids)
    if len(wanted) < len(sample_ids) or wanted != set(by_id):
        missing, more = sorted(wanted - set(by_id)), sorted(set(by_id) - wanted)
        what = (f"{len(missing)} of the sample's {len(wanted)} images have no prediction (the first: "
                f"{missing[0]!r})" if missing else
                f"{len(more)} images are not in the sample (the first: {more[0]!r})" if more else
                "the sample names an image twice")
        raise SubmissionError(f"{path} is not written: {what}; give the sample submission of the "
                              "images that were predicted")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([image_id, *by_id[image_id]] for image_id in sample_ids)
    write_text(path, text.getvalue())


def read_turtle_submission(path):
    """{image_id: its five names, list of str, best first}, in the file's order.

    Raises SubmissionError naming file and row for a name that is empty or stands there twice, too
    few or too many fields, and an image that comes twice.
    """
    predictions = {}
    for image_id, row, where in _rows(path, COLUMNS):
        names = [row[column] for column in COLUMNS[1:]]
        fault = _fault(names) or (None in row and f"it has more than {len(COLUMNS)} fields")
        if fault:
            raise SubmissionError(f"{where}: {fault}")
        predictions[image_id] = names
    return predictions


def read_turtle_truth(path):
    """{image_id: its turtle_id} of a CSV `image_id,turtle_id`. Raises SubmissionError naming file and row."""
    return {image_id: row["turtle_id"] for image_id, row, _ in _rows(path, ("image_id", "turtle_id"))}


def score_turtles(predictions, truth, known_ids):
    """{"accuracy", "map_at_5"} of a submission, over the known individuals and new_turtle.

    predictions: {image_id: its names, best first}; truth: {image_id: the right name}, where every name
    outside `known_ids` counts as new_turtle. Raises SubmissionError unless both have the same images.
    """
    odd = sorted(set(predictions) ^ set(truth))
    if odd or not truth:
        raise SubmissionError("submission and truth do not have the same images, or none "
                              f"({len(odd)} only in one{f', for instance {odd[0]!r}' if odd else ''})")
    ranks = []
    for image_id, name in truth.items():
        names = list(predictions[image_id])
        right = name if name in known_ids else NEW_TURTLE
        ranks.append(1 / (1 + names.index(right)) if right in names else 0)
    return {"accuracy": ranks.count(1) / len(ranks), "map_at_5": sum(ranks) / len(ranks)}


def _rows(path, columns):
    """Yields (image_id, row dict, where it stands) of a CSV; its ids, of the first column, are neither empty
    nor double."""
    seen = set()
    try:
        for number, row in csv_rows(path, columns):
            image_id = row[columns[0]]
            where = f"{path}, row {number}, image {image_id!r}"
            if not image_id or image_id in seen:
                raise SubmissionError(f"{where}: "
                                      + ("the image stands there already" if image_id
                                         else "an image id is needed"))
            seen.add(image_id)
            yield image_id, row, where
    except AnnotationError as error:
        raise SubmissionError(str(error)) from error


def _fault(names):
    """What is wrong with the names of a row, or None."""
    if len(names) != N_PREDICTIONS or not all(names):
        return (f"it needs {N_PREDICTIONS} names, none of them empty, and has "
                f"{', '.join(map(str, names))}")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    return twice and f"{twice!r} stands there twice; put another id for its repeat"
