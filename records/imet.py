"""Artworks in the layout of the iMet Collection 2019 competition: several labels an image, or none.

labels.csv             attribute_id,attribute_name, like `culture::french`, `tag::flowers`
train.csv              id,attribute_ids: whole numbers separated by spaces, or nothing; train/ID.png
sample_submission.csv  its ids name the test images, test/ID.png; without it they are all that lie there
"""
import pathlib
import re

from records.annotations import (PLAIN_NAME, AnnotationError, Problem, SourceImage, csv_rows, find_image,
                                 folder_images)

LABELS, TRAIN, TEST = "labels.csv", "train.csv", "sample_submission.csv"
SUFFIX = ".png"
NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def read_attributes(data_dir):
    """{attribute_id: attribute_name} of labels.csv, in ascending order of the number.

    It says what the numbers of train.csv mean, so that no row of it can be left out: raises
    AnnotationError for a number or name that is doubled or no number or name.
    """
    path = pathlib.Path(data_dir, LABELS)
    names, rows = {}, {}
    for row_number, row in csv_rows(path, ["attribute_id", "attribute_name"]):
        number, name = row["attribute_id"] or "", row["attribute_name"] or ""
        known = int(number) if NUMBER.fullmatch(number) else None
        fault = (f"attribute_id {number!r} is not a whole number" if known is None else
                 f"attribute_id {number} has no attribute_name" if not name.strip() else
                 f"attribute_id {number} stands in row {rows[known]} already" if known in names else
                 f"attribute_name {name!r} stands in row {rows[name]} already" if name in rows else None)
        if fault:
            raise AnnotationError(f"{path}, row {row_number}: {fault}: correct it, since every label of "
                                  f"{TRAIN} is read by it")
        names[known] = name
        rows[known] = rows[name] = row_number
    if not names:
        raise AnnotationError(f"{path} has no row: it must name every attribute of {TRAIN}")
    return dict(sorted(names.items()))


def parse_attribute_ids(text, names):
    """`12 5 40` -> [12, 5, 40], "" -> []. names: as read_attributes has them.

    Raises ValueError for what is no number, is not in labels.csv, or stands there twice.
    """
    numbers = []
    for field in text.split():
        if not NUMBER.fullmatch(field):
            raise ValueError(f"attribute_ids has {field!r}: they must be whole numbers separated by spaces")
        number = int(field)
        if number not in names:
            raise ValueError(f"attribute {number} is not among the {len(names)} of {LABELS}")
        if number in numbers:
            raise ValueError(f"attribute {number} ({names[number]}) stands there twice")
        numbers.append(number)
    return numbers


def read_imet(data_dir, labelled=True):
    """The images of train.csv with the names of their attributes, or those of the test set, with none.

    labelled: False for the latter. Returns (list of SourceImage, list of Problem). Raises
    AnnotationError.
    """
    data_dir = pathlib.Path(data_dir)
    folder = data_dir / ("train" if labelled else "test")
    if not folder.is_dir():
        raise AnnotationError(f"no folder {folder}: --data_dir must hold {folder.name}/ID{SUFFIX} beside "
                              f"{LABELS}" + (f" and {TRAIN}" if labelled else ""))
    names = read_attributes(data_dir)
    file = data_dir / (TRAIN if labelled else TEST)
    if not labelled and not file.is_file():
        return _all_images(folder)
    images, problems, seen = [], [], {}
    for row_number, row in csv_rows(file, ["id", "attribute_ids"] if labelled else ["id"]):
        image_id, numbers = row["id"] or "", []
        path = find_image(folder, image_id) if PLAIN_NAME.fullmatch(image_id) else None
        fault = (f"id {image_id!r} stands in row {seen[image_id]} already" if image_id in seen else
                 f"id {image_id!r} is not a plain file name" if not PLAIN_NAME.fullmatch(image_id) else
                 None if path else f"no image {folder / image_id}{SUFFIX} (nor one of another suffix)")
        if labelled and not fault:
            try:
                numbers = _numbers(row, names)
            except ValueError as error:
                fault = f"{image_id}: {error}"
        seen.setdefault(image_id, row_number)
        if fault:
            problems.append(Problem(str(file), row_number, fault))
            continue
        images.append(SourceImage(image_id, str(path), None, "", [names[n] for n in numbers], None, -1,
                                  str(file), row_number))
    return images, problems


def _numbers(row, names):
    """The attribute numbers of a row of train.csv. Raises ValueError."""
    if row["attribute_ids"] is None or None in row:  # else labels would be lost without a word
        raise ValueError("the row must have one field of attribute_ids, separated by spaces, which may be "
                         "empty")
    return parse_attribute_ids(row["attribute_ids"], names)


def _all_images(folder):
    """(images, problems): every image file of a folder, its name without suffix being the id."""
    images, problems = {}, []
    for path in folder_images(folder, "test images"):
        if path.stem in images:
            problems.append(Problem(str(path), None, f"id {path.stem!r} is there already, as "
                                                     f"{images[path.stem].path}"))
            continue
        images[path.stem] = SourceImage(path.stem, str(path), None, "", [], None, -1, str(path), None)
    return list(images.values()), problems
