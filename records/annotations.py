"""What is to be packed, and every fault found on the way; pages in the Kaggle layout of Kuzushiji.

Each reader, here and in `image_sets`, `coco` and others, returns (images, problems): a list of
SourceImage (or ImageColumns, of very many) and a list of Problem. Readers touch no pixels;
`check_image` reads the headers (and, if asked, decodes) afterwards.
"""
import csv
import dataclasses
import functools
import os
import pathlib
import re
import zipfile
import zlib

import numpy as np

from records.boxes import rounded_onto, touching
from records.images import BadImage, decode_image, open_image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
PAGE_SUFFIXES = [".jpg", *sorted(IMAGE_SUFFIXES - {".jpg"})]  # in the order they are looked for
PLAIN_NAME = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*")  # of a file, never a way elsewhere
MAX_FILE_BYTES = 1 << 30  # a zip member that claims more is refused


class AnnotationError(ValueError):
    """The annotations as a whole cannot be read: no such file, no such column, nothing in it."""


@dataclasses.dataclass
class Problem:
    """One fault, with the place where it stands."""
    file: str
    row: int | None  # line number in the file, the header being line 1
    what: str

    def __str__(self):
        return f"{self.file}{f', row {self.row}' if self.row else ''}: {self.what}"


@functools.lru_cache(maxsize=1)
def _open_zip(path):
    """Kept open: reading the list of members anew for each would take most of the time."""
    return zipfile.ZipFile(path)


@dataclasses.dataclass
class SourceImage:
    """One image file, what is annotated on it, and the records that are made of it."""
    image_id: str
    path: str  # of the image, or of the zip
    member: str | None  # name inside the zip
    group: str
    labels: list  # [n] class names
    boxes: np.ndarray | None  # int [n, 4], x y w h px; None: no page, a whole image, with one label or,
    #                           in a set of several labels an image, with any number of them
    fold: int  # -1: none given
    file: str  # where it was announced, for messages
    row: int | None
    width: int = 0
    height: int = 0
    detected: tuple | None = None  # (file, int rows [n]) of a detector's boxes: float, so rounded
    stated_size: tuple | None = None  # (width, height) px, where the annotations say it
    numbers: np.ndarray | None = None  # int [n], places of the boxes among all annotated
    scores: np.ndarray | None = None  # float [n], 0..1, of a detector's boxes
    extent: tuple | None = None  # (offset, length): its bytes in the file, where that holds others too

    def __post_init__(self):
        if self.boxes is not None and self.numbers is None:
            self.numbers = np.arange(len(self.boxes))

    def as_page(self):
        """The same as a page without boxes."""
        return dataclasses.replace(self, labels=[], boxes=np.zeros((0, 4), np.int64))

    def keep_boxes(self, places):
        """Drops all boxes but those at `places`, int [k]."""
        self.labels = [self.labels[place] for place in places]
        self.boxes, self.numbers = self.boxes[places], self.numbers[places]
        if self.scores is not None:
            self.scores = self.scores[places]

    def record_ids(self, records):
        """Ids of the records made of it; records: "images", "pages" or "boxes"."""
        if records != "boxes":
            return [self.image_id]
        return [f"{self.image_id}:{number}" for number in self.numbers]

    def read(self):
        """The file's bytes. Raises BadImage."""
        try:
            if self.extent is not None:
                with open(self.path, "rb") as file:
                    file.seek(self.extent[0])
                    return file.read(self.extent[1])
            if self.member is None:
                return pathlib.Path(self.path).read_bytes()
            archive = _open_zip(self.path)
            size = archive.getinfo(self.member).file_size
            if size > MAX_FILE_BYTES:
                raise BadImage(f"{size} bytes, more than the {MAX_FILE_BYTES} allowed")
            return archive.read(self.member)
        except (OSError, KeyError, RuntimeError, NotImplementedError, zlib.error,
                zipfile.BadZipFile) as error:  # RuntimeError: encrypted
            raise BadImage(f"cannot be read ({error})") from error


def csv_rows(csv_path, required):
    """(line number, row dict) of a CSV that must have the `required` columns."""
    try:
        with open(csv_path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [c for c in required if c not in (reader.fieldnames or [])]
            if missing:
                raise AnnotationError(
                    f"{csv_path} has the columns {', '.join(reader.fieldnames or ['(none)'])}; "
                    f"it must have {', '.join(required)} ({', '.join(missing)} missing)")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{csv_path} cannot be read as a UTF-8 CSV: {error}") from error


def parse_kuzushiji_labels(text):
    """`U+XXXX x y w h ...` -> (labels [n], boxes int64 [n, 4]). Raises ValueError saying what is off."""
    fields = text.split()
    if len(fields) % 5:
        raise ValueError(f"{len(fields)} fields, not a multiple of 5 (U+XXXX x y w h)")
    labels = fields[::5]
    for label in labels:
        if not re.fullmatch(r"U\+[0-9A-F]{4,6}", label):
            raise ValueError(f"label {label!r} is not of the form U+XXXX")
    numbers = [field for i, field in enumerate(fields) if i % 5]
    for number in numbers:
        if not re.fullmatch(r"[+-]?\d{1,9}", number):
            raise ValueError(f"{number!r} is not a whole number of pixels")
    return labels, np.array(numbers, np.int64).reshape(-1, 4)


def read_truth(csv_path):
    """{image_id: (labels, boxes int64 [n, 4])} of an annotated CSV, in its order.

    Raises AnnotationError naming the row.
    """
    truth = {}
    for row_number, row in csv_rows(csv_path, ["image_id", "labels"]):
        try:
            labels, boxes = parse_kuzushiji_labels(row["labels"] or "")
        except ValueError as error:
            raise AnnotationError(f"{csv_path}, row {row_number}: {error}") from error
        if row["image_id"] in truth:
            raise AnnotationError(f"{csv_path}, row {row_number}: page {row['image_id']!r} stands "
                                  "there already")
        truth[row["image_id"]] = labels, boxes
    return truth


def find_image(folder, image_id):
    """The image of that name in `folder`, whatever its suffix (.jpg first); None if absent.

    A name may have its suffix already, as ids of COCO may; then it must not lead out of the folder.
    """
    name = pathlib.PurePath(image_id)
    if not name.is_absolute() and ".." not in name.parts:
        for suffix in PAGE_SUFFIXES:
            for path in (pathlib.Path(folder, image_id + s) for s in (suffix, suffix.upper())):
                if os.path.isfile(path):  # False, and no error, where the name is too long
                    return path
    try:
        return inside(folder, image_id)
    except ValueError:
        return None


def inside(folder, name):
    """Path of the file `name` of a folder. Raises ValueError where it is absent or elsewhere."""
    try:
        root = pathlib.Path(folder).resolve()
        path = (root / name).resolve()
        found = path.is_file()
    except (OSError, ValueError) as error:  # too long, or a NUL in it
        raise ValueError(f"{name[:100]!r} cannot be a path ({error})") from error
    if not path.is_relative_to(root):
        raise ValueError(f"{name!r} lies outside {folder}")
    if not found:
        raise ValueError(f"no image {path}")
    return path


def read_kuzushiji(csv_path, image_dir):
    """Pages of the Kaggle layout, `image_id,labels`, and images at IMAGE_DIR/ID.jpg (or another
    suffix); group = book title."""
    images, problems = [], []
    for image, row in _announced_pages(csv_path, image_dir, ["image_id", "labels"], problems):
        try:
            image.labels, image.boxes = parse_kuzushiji_labels(row["labels"] or "")
            image.numbers = np.arange(len(image.boxes))
        except ValueError as error:
            problems.append(Problem(image.file, image.row, f"page {image.image_id}: {error}"))
            continue
        images.append(image)
    return images, problems


def read_pages(csv_path, image_dir):
    """Pages to be read: those of a CSV's `image_id`, or every image that lies in IMAGE_DIR itself.

    csv_path: None for the latter; labels it may have are not looked at. Boxes are empty.
    """
    problems = []
    if csv_path is not None:
        pages = _announced_pages(csv_path, image_dir, ["image_id"], problems)
        return [image for image, _ in pages], problems
    pages = {}
    for path in folder_images(image_dir, "pages"):
        if path.stem in pages:
            problems.append(Problem(str(path), None, f"page {path.stem!r} is there already, as "
                                                     f"{pages[path.stem].path}"))
            continue
        pages[path.stem] = _page(path.stem, path, str(path), None)
    return list(pages.values()), problems


def folder_images(folder, what):
    """Sorted paths of the image files in a folder itself. what: they are, for messages.

    Raises AnnotationError where there is none.
    """
    try:
        paths = sorted(path for path in pathlib.Path(folder).iterdir()
                       if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
                       and not path.name.startswith("."))
    except OSError as error:
        raise AnnotationError(f"no {what}: {folder} cannot be listed ({error.strerror})") from error
    if not paths:
        raise AnnotationError(f"no {what}: {folder} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def _page(image_id, path, file, row):
    return SourceImage(image_id, str(path), None, image_id.split("_")[0], [],
                       np.zeros((0, 4), np.int64), -1, file, row)


def _announced_pages(csv_path, image_dir, columns, problems):
    """Yields (SourceImage without boxes, row dict) of each sound row; others become problems."""
    seen = {}
    for row_number, row in csv_rows(csv_path, columns):
        image_id, bad = row["image_id"] or "", lambda what: problems.append(
            Problem(str(csv_path), row_number, what))
        if image_id in seen:
            bad(f"image_id {image_id!r} stands in row {seen[image_id]} already")
            continue
        seen[image_id] = row_number
        if not PLAIN_NAME.fullmatch(image_id):
            bad(f"image_id {image_id!r} is not a plain file name")
            continue
        path = find_image(image_dir, image_id)
        if path is None:
            bad(f"no image {pathlib.Path(image_dir, image_id + PAGE_SUFFIXES[0])} (nor one of "
                "another suffix)")
            continue
        yield _page(image_id, path, str(csv_path), row_number), row


def check_image(image, max_megapixels, decode):
    """Problems of one image: unreadable, too large, of another size than stated, boxes outside.

    Fills in its width and height (they stay 0 if it cannot be packed), and drops the boxes that are
    at fault. Those of a detector are rounded and moved onto the page they touch. decode: decode it
    whole, to find damage further in.
    """
    try:
        source = image.read() if decode or image.member or image.extent else image.path
        if decode:
            image.height, image.width = decode_image(source, max_megapixels).shape[:2]
        else:
            _, image.width, image.height = open_image(source, max_megapixels)
    except BadImage as error:
        return [Problem(image.file, image.row, f"{image.image_id}: {error}")]
    if image.stated_size not in (None, (image.width, image.height)):
        fault = (f"{image.image_id}: the image is {image.width} x {image.height} px, but its "
                 f"annotations are of one of {' x '.join(map(str, image.stated_size))} px")
        image.width = image.height = 0
        return [Problem(image.file, image.row, fault)]
    if image.boxes is None:
        return []
    if image.detected is not None:
        return _move_onto_page(image)
    corner, size = image.boxes[:, :2], image.boxes[:, 2:]
    sized = (size > 0).all(axis=1)
    on_page = ((corner >= 0) & (corner + size <= [image.width, image.height])).all(axis=1)
    problems = []
    for index in np.flatnonzero(~(sized & on_page)):
        fault = (f"is not inside the page of {image.width} x {image.height} px" if sized[index]
                 else "has no size")
        problems.append(Problem(image.file, image.row, (
            f"page {image.image_id}: box {image.numbers[index]} ({image.labels[index]} "
            f"{' '.join(map(str, image.boxes[index]))}) {fault}")))
    image.keep_boxes(np.flatnonzero(sized & on_page))
    return problems


def _move_onto_page(image):
    """Rounds a detector's boxes; drops those that have no part on the page, and returns them as
    problems."""
    file, rows = image.detected
    on_page = touching(image.boxes, image.width, image.height)
    problems = [Problem(file, int(rows[index]), (
        f"page {image.image_id}: box {image.numbers[index]} "
        f"({' '.join(f'{value:g}' for value in image.boxes[index])}) has no part on the page of "
        f"{image.width} x {image.height} px")) for index in np.flatnonzero(~on_page)]
    kept = np.flatnonzero(on_page)
    image.keep_boxes(kept)
    image.boxes = rounded_onto(image.boxes, image.width, image.height)
    image.detected = file, rows[kept]
    return problems
