"""Products in the layout of Cdiscount's competition: pictures of one file, three levels of categories.

train.bson, test.bson  documents {_id, category_id, imgs: [{picture: bytes}, ...]}; the test's have no category
category_names.csv     category_id,category_level1,category_level2,category_level3
"""
import pathlib
import re

import numpy as np

from records.annotations import AnnotationError, Problem, csv_rows
from records.bson_index import NONE, bson_index
from records.image_columns import UNLABELLED, ImageColumns

NAMES = "category_names.csv"
LEVELS = ("category_level1", "category_level2", "category_level3")


def read_categories(data_dir):
    """{category_id: (name of level 1, 2, 3)} of category_names.csv, by the number's text, ascending.

    Raises AnnotationError for a number that is doubled or none, and a level without a name.
    """
    path, levels, rows = pathlib.Path(data_dir, NAMES), {}, {}
    for row_number, row in csv_rows(path, ["category_id", *LEVELS]):
        number, names = row["category_id"] or "", tuple((row[level] or "").strip() for level in LEVELS)
        known = int(number) if re.fullmatch(r"[0-9]{1,18}", number) else None
        fault = (f"category_id {number!r} is not a whole number" if known is None else
                 f"category_id {number} stands in row {rows[known]} already" if known in rows else
                 None if all(names) else f"category {number} has no {LEVELS[names.index('')]}")
        if fault:
            raise AnnotationError(f"{path}, row {row_number}: {fault}: correct it, since every product is read "
                                  "by it")
        levels[known], rows[known] = names, row_number
    if not levels:
        raise AnnotationError(f"{path} has no row: it must name every category")
    return dict(sorted(levels.items(), key=lambda item: str(item[0])))


def class_levels(categories):
    """For dataset.json, of read_categories: of each level its names, sorted, and which of them each class has."""
    told = []
    for place, level in enumerate(LEVELS):
        of_class = [names[place] for names in categories.values()]
        names = sorted(set(of_class))
        code = {name: number for number, name in enumerate(names)}
        told.append({"name": level, "names": names, "of_class": [code[name] for name in of_class]})
    return told


def read_cdiscount(path, data_dir, index_folder, labelled=True):
    """(ImageColumns of every sound product's pictures, list of Problem). Raises AnnotationError.

    path: the BSON file. index_folder: where its index is kept. labelled: False for a test set, whose
    category_id is not looked at.
    """
    categories = read_categories(data_dir)
    index = bson_index(path, index_folder)
    found = index.columns
    problems = [Problem(f"{path}{'' if name is None else f', _id {name}'} at byte {start}", None, what)
                for start, name, what in index.faults]
    product, number, start = (found[name] for name in ("product", "category", "start"))
    order = np.argsort(product, kind="stable")
    again = np.zeros(len(product), bool)
    again[order[1:]] = product[order[1:]] == product[order[:-1]]
    ids = np.array(sorted(categories), np.int64)
    code_of = np.argsort(np.argsort(np.array([str(i) for i in ids.tolist()])))  # in the order of the names
    place = np.searchsorted(ids, number).clip(max=len(ids) - 1)
    unknown = (ids[place] != number) & labelled
    category = np.where(unknown | (not labelled), UNLABELLED, code_of[place])
    for i in np.flatnonzero(again | unknown):
        what = ("its _id stands there already" if again[i] else
                "it has no category_id, which must be a whole number"
                if number[i] == NONE else f"category_id {number[i]} is not among the {len(ids)} of {NAMES}")
        problems.append(Problem(f"{path}, _id {product[i]} at byte {start[i]}", None, what))
    sound, pictures = ~(again | unknown), found["pictures"]
    document = np.repeat(np.arange(len(product)), pictures)  # of each picture
    within = np.arange(len(document)) - np.repeat(np.cumsum(pictures) - pictures, pictures)
    kept = sound[document]
    document = document[kept]
    return ImageColumns(
        str(path), list(map(str, categories)), product[document], within[kept].astype(np.int32), start[document],
        category[document].astype(np.int32),
        **{name: found[name][kept] for name in ("offset", "length", "width", "height", "plain")}), problems
