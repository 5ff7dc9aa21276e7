"""Images with boxes in the JSON of COCO (Lin et al. 2014, Microsoft COCO; cocodataset.org).

  images       id, file_name, width, height (px)
  annotations  id, image_id, category_id, bbox [x, y, w, h] (px, float, from the top-left corner),
               iscrowd (1: one box round many things, which is left out)
  categories   id, name

Boxes are rounded outward to whole pixels; what then sticks out of the image by a pixel at most is
cut off. The file is read into memory, without its outlines: about twice its size is needed.
"""
import collections
import json
import pathlib

import numpy as np

from records.annotations import AnnotationError, Problem, SourceImage, inside
from records.boxes import clipped, rounded_outward
from records.image_sets import find_group

LARGEST = 1e9  # px; what is beyond is no place on an image, and would not fit an integer


def read_coco(json_path, image_dir, group_regex=None, annotated=True):
    """(images, problems) of a COCO file; file names are relative to IMAGE_DIR and inside it.

    An image's id is its file name without suffix, or all of it where that is not unique.
    group_regex: its first group, searched in the file name, is the image's group. annotated: False
    takes the pages alone, and looks at no annotation and no category. Raises AnnotationError.
    """
    json_path = str(json_path)
    data = _load(json_path, ["images", "annotations", "categories"] if annotated else ["images"])
    names = _categories(json_path, data["categories"]) if annotated else {}
    problems, images, refused = [], {}, set()  # both by COCO's id
    files = set()
    for place, entry in enumerate(data["images"]):
        key = _id(entry)
        try:
            if key in images or key in refused:
                raise ValueError("the id is another image's too")
            image = _image(json_path, image_dir, group_regex, entry)
            if image.path in files:
                raise ValueError(f"file_name {entry['file_name']!r} is another image's too")
        except ValueError as error:
            problems.append(Problem(json_path, None, f"{_called('image', place, key)}: {error}"))
            refused.add(key)
            continue
        files.add(image.path)
        images[key] = image
    _shorten_ids(images.values())
    if annotated:
        _add_boxes(json_path, data["annotations"], images, refused, names, problems)
    return list(images.values()), problems


def _load(json_path, parts):
    def without_outlines(entry):  # most of the file, and not used
        entry.pop("segmentation", None)
        return entry
    try:
        with open(json_path, encoding="utf-8-sig") as file:
            data = json.load(file, object_hook=without_outlines)
    except (OSError, ValueError, RecursionError) as error:  # what json raises is a ValueError
        raise AnnotationError(f"{json_path} cannot be read as JSON: {error}") from error
    for part in parts:
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise AnnotationError(f"{json_path} has no list {part!r}: it must be an object with "
                                  f"the lists {', '.join(parts)}, as COCO's instances_*.json")
    return data


def _categories(json_path, entries):
    """{id: name}"""
    names, taken = {}, set()
    for place, entry in enumerate(entries):
        key = _id(entry)
        try:
            if key in names:
                raise ValueError("the id is another category's too")
            name = _field(entry, "name", str)
            if not name or not name.isprintable():
                raise ValueError(f"the name {name!r} must be text on one line")
            if name in taken:
                raise ValueError(f"the name {name!r} is another category's too")
            taken.add(name)
            names[_field(entry, "id", (int, str))] = name
        except ValueError as error:
            raise AnnotationError(f"{json_path}: {_called('category', place, key)}: {error}"
                                  ) from error
    return names


def _image(json_path, image_dir, group_regex, entry):
    _field(entry, "id", (int, str))
    name = _field(entry, "file_name", str)
    size = _field(entry, "width", int), _field(entry, "height", int)
    if not 1 <= min(size) <= max(size) < LARGEST:
        raise ValueError(f"{size[0]} x {size[1]} px is no size")
    path = inside(image_dir, name)
    return SourceImage(name, str(path), None, find_group(group_regex, name), [],
                       np.zeros((0, 4), np.int64), -1, json_path, None, stated_size=size)


def _shorten_ids(images):
    stems = [pathlib.PurePosixPath(image.image_id).stem for image in images]
    if len(set(stems)) == len(stems):
        for image, stem in zip(images, stems):
            image.image_id = stem


def _add_boxes(json_path, entries, images, refused, names, problems):
    """Gives each image its labels and boxes, in the file's order."""
    found, seen, crowds = [], set(), 0  # found: (COCO's image id, label, bbox, name for messages)
    for place, entry in enumerate(entries):
        key = _id(entry)
        try:
            if key in seen:
                raise ValueError("the id is another annotation's too")
            seen.add(_field(entry, "id", (int, str)))
            image_id = _field(entry, "image_id", (int, str))
            if image_id in refused and image_id not in images:
                continue  # its image is among the problems already
            if image_id not in images:
                raise ValueError(f"image_id {image_id!r} is none of the {len(images)} images")
            crowd = entry.get("iscrowd", 0)
            if crowd not in (0, 1):
                raise ValueError(f"iscrowd {crowd!r} is neither 0 nor 1")
            if crowd:
                crowds += 1
                continue
            category = _field(entry, "category_id", (int, str))
            if category not in names:
                raise ValueError(f"category_id {category!r} is none of the {len(names)} categories")
            box = _box(_field(entry, "bbox", list))
        except ValueError as error:
            problems.append(Problem(json_path, None,
                                    f"{_called('annotation', place, key)}: {error}"))
            continue
        found.append((image_id, names[category], box, _called("annotation", place, key)))
    if crowds:
        print(f"{json_path}: {crowds} boxes round crowds (iscrowd) are left out")
    sizes = np.array([images[row[0]].stated_size for row in found]).reshape(-1, 2)
    whole = rounded_outward([row[2] for row in found])  # all at once: there may be a million
    boxes = clipped(whole, sizes)
    beyond = np.maximum(-whole[:, :2], whole[:, :2] + whole[:, 2:] - sizes).max(axis=1, initial=0)
    sound = (beyond <= 1) & (boxes[:, 2:] > 0).all(axis=1)
    for row in np.flatnonzero(~sound):
        _, _, box, called = found[row]
        problems.append(Problem(json_path, None, (
            f"{called}: bbox {box} is not inside the image of {' x '.join(map(str, sizes[row]))} "
            "px")))
    rows_of = collections.defaultdict(list)  # of `found`, by COCO's image id
    for row, (image_id, *_) in enumerate(found):
        rows_of[image_id].append(row)
    for image_id, rows in rows_of.items():
        image, numbers = images[image_id], np.flatnonzero(sound[rows])
        rows = np.array(rows)[numbers]
        image.labels, image.boxes = [found[row][1] for row in rows], boxes[rows]
        image.numbers = numbers


def _box(numbers):
    """A bbox as it is, its numbers checked. Raises ValueError."""
    if len(numbers) != 4 or not all(
            type(number) in (int, float) and abs(number) < LARGEST for number in numbers):  # no NaN
        raise ValueError(f"bbox {str(numbers)[:100]} is not of the form [x, y, width, height], px")
    if numbers[2] <= 0 or numbers[3] <= 0:
        raise ValueError(f"bbox {numbers} has no size")
    return numbers


def _field(entry, name, kind):
    """entry[name], which must be there and of that kind. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"{str(entry)[:100]} is not an object")
    if name not in entry:
        raise ValueError(f"{name} is missing")
    if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
        wanted = {int: "a whole number", str: "text", list: "a list"}.get(kind, "a number or text")
        raise ValueError(f"{name} {str(entry[name])[:100]!r} is not {wanted}")
    return entry[name]


def _id(entry):
    """The id, where there is a proper one, to look it up; else None."""
    key = entry.get("id") if isinstance(entry, dict) else None
    return key if type(key) in (int, str) else None


def _called(kind, place, key):
    return f"{kind} {key!r}" if key is not None else f"{kind} number {place} (the first is 0)"
