"""Turtles in the layout of the Turtle Recall competition, whose photographs lie in IMAGES/ID.JPG.

train.csv         image_id,image_location,turtle_id: the individuals that count as known
extra_images.csv  image_id,turtle_id: more photographs, of known and of other individuals; may be absent
test.csv          image_id,image_location
"""
import pathlib

from records.annotations import (PAGE_SUFFIXES, PLAIN_NAME, AnnotationError, Problem, SourceImage,
                                 csv_rows, find_image)

TRAIN, EXTRA, TEST, IMAGES = "train.csv", "extra_images.csv", "test.csv", "images"
NEW = "new_turtle"  # what a submission calls every individual that is not known


def read_turtles(data_dir, labelled=True):
    """The photographs of train.csv and extra_images.csv together, or of test.csv.

    labelled: False for the latter. Returns (list of SourceImage, list of Problem); the group is the
    image_location, "" where none is given. Raises AnnotationError.
    """
    data_dir = pathlib.Path(data_dir)
    if not (data_dir / IMAGES).is_dir():
        raise AnnotationError(f"no folder {data_dir / IMAGES}: --data_dir must hold {IMAGES}/ID.JPG "
                              f"beside {TRAIN if labelled else TEST}")
    files = [data_dir / (TRAIN if labelled else TEST)]
    if labelled and (data_dir / EXTRA).is_file():
        files.append(data_dir / EXTRA)
    elif labelled:
        print(f"no {data_dir / EXTRA}: the photographs of {TRAIN} alone")
    images, problems, seen = [], [], {}
    for file in files:
        columns = ["image_id", *(["turtle_id"] if labelled else [])]
        for row_number, row in csv_rows(file, columns):
            image_id, label = row["image_id"] or "", row["turtle_id"] or "" if labelled else ""
            path = find_image(data_dir / IMAGES, image_id) if PLAIN_NAME.fullmatch(image_id) else None
            fault = (_fault(image_id, label, labelled, seen) or
                     (None if path else f"no image {data_dir / IMAGES / image_id}{PAGE_SUFFIXES[0]} (nor "
                                        "one of another suffix)"))
            seen.setdefault(image_id, f"{file}, row {row_number}")
            if fault:
                problems.append(Problem(str(file), row_number, fault))
                continue
            images.append(SourceImage(image_id, str(path), None, row.get("image_location") or "",
                                      [label], None, -1, str(file), row_number))
    return images, problems


def _fault(image_id, label, labelled, seen):
    """What is wrong with a row as it stands, or None. seen: {image_id: where it stood before}."""
    if image_id in seen:
        return f"image_id {image_id!r} stands in {seen[image_id]} already"
    if not PLAIN_NAME.fullmatch(image_id):
        return f"image_id {image_id!r} is not a plain file name"
    if labelled and not label.strip():
        return f"{image_id} has no turtle_id"
    if label == NEW:
        return f"{image_id}: turtle_id {NEW!r} is what an unknown turtle is called, not an individual"
    return None


def known_turtles(data_dir):
    """Sorted names of the individuals of train.csv, all others being new to the competition."""
    return sorted({row["turtle_id"] for _, row in csv_rows(pathlib.Path(data_dir, TRAIN), ["turtle_id"])
                   if (row["turtle_id"] or "").strip()} - {NEW})
