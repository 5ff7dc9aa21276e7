"""What is to be packed, read from each annotation format, with every fault found on the way.

Each reader returns (images, problems): a list of SourceImage and a list of Problem. Readers touch
no pixels; `check_images` reads the headers (and, if asked, decodes) afterwards.
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

from records.images import BadImage, decode_image, open_image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
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
    """One image file and the records that are cut out of it."""
    image_id: str
    path: str  # of the image, or of the zip
    member: str | None  # name inside the zip
    group: str
    labels: list  # [n] class names
    boxes: np.ndarray | None  # int [n, 4], x y w h in pixels; None: the whole image is the record
    fold: int  # -1: none given
    file: str  # where it was announced, for messages
    row: int | None
    width: int = 0
    height: int = 0

    def record_ids(self):
        if self.boxes is None:
            return [self.image_id]
        return [f"{self.image_id}:{i}" for i in range(len(self.boxes))]

    def read(self):
        """The file's bytes. Raises BadImage."""
        try:
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


def _rows(csv_path, required):
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
    for row_number, row in _rows(csv_path, ["image_id", "labels"]):
        try:
            labels, boxes = parse_kuzushiji_labels(row["labels"] or "")
        except ValueError as error:
            raise AnnotationError(f"{csv_path}, row {row_number}: {error}") from error
        if row["image_id"] in truth:
            raise AnnotationError(f"{csv_path}, row {row_number}: page {row['image_id']!r} stands "
                                  "there already")
        truth[row["image_id"]] = labels, boxes
    return truth


def read_kuzushiji(csv_path, image_dir):
    """Pages of the Kaggle layout: `image_id,labels`; images at IMAGE_DIR/ID.jpg; group = book title."""
    images, problems, seen = [], [], {}
    for row_number, row in _rows(csv_path, ["image_id", "labels"]):
        image_id, bad = row["image_id"] or "", lambda what: problems.append(
            Problem(str(csv_path), row_number, what))
        if image_id in seen:
            bad(f"image_id {image_id!r} stands in row {seen[image_id]} already")
            continue
        seen[image_id] = row_number
        path = pathlib.Path(image_dir, f"{image_id}.jpg")
        if not re.fullmatch(r"[\w.-]+", image_id) or image_id.startswith("."):
            bad(f"image_id {image_id!r} is not a plain file name")
            continue
        if not path.is_file():
            bad(f"no image {path}")
            continue
        try:
            labels, boxes = parse_kuzushiji_labels(row["labels"] or "")
        except ValueError as error:
            bad(f"page {image_id}: {error}")
            continue
        images.append(SourceImage(image_id, str(path), None, image_id.split("_")[0], labels, boxes,
                                  -1, str(csv_path), row_number))
    return images, problems


def _folder_files(data_dir):
    """(zip member or None, path relative to the root in POSIX form), sorted, of a folder or zip."""
    return [(member, name) for member, name in _all_files(data_dir)
            if not any(part == "__MACOSX" or part.startswith(".") and part != ".."
                       for part in pathlib.PurePosixPath(name).parts)]  # not a user's own files


def _all_files(data_dir):
    root = pathlib.Path(data_dir)
    if root.is_file():
        try:
            with zipfile.ZipFile(root) as archive:
                return sorted((i.filename, i.filename) for i in archive.infolist()
                              if not i.is_dir())
        except zipfile.BadZipFile as error:
            raise AnnotationError(f"{root} is not a zip file ({error})") from error
    if not root.is_dir():
        raise AnnotationError(f"no folder or zip file at {root}")
    return sorted((None, pathlib.Path(folder, name).relative_to(root).as_posix())
                  for folder, _, names in os.walk(root) for name in names
                  if pathlib.Path(folder, name).is_file())


def read_folder(data_dir, group_regex=None, labelled=True):
    """A folder per class, nested or not, or a zip of them; the class is the folder's path.

    Leading folders that all images share are left out of class names and ids. `group_regex`: its
    first group, searched in the id, is the image's group (a drawer, a camera). labelled: False
    allows images in no class folder.
    """
    files = [(member, name) for member, name in _folder_files(data_dir)
             if pathlib.PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise AnnotationError(f"{data_dir} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})")
    leading_out = [name for _, name in files
                   if name.startswith("/") or ".." in pathlib.PurePosixPath(name).parts]
    problems = [Problem(name, None, "its path leads out of the zip") for name in leading_out]
    files = [file for file in files if file[1] not in leading_out]
    parents = {pathlib.PurePosixPath(name).parent for _, name in files}
    shared = os.path.commonpath(parents) if len(parents) > 1 else ""
    images, seen = [], set()
    for member, name in files:
        identity = pathlib.PurePosixPath(name)
        if shared not in ("", "."):
            identity = identity.relative_to(shared)
        label, group = str(identity.parent), ""
        if str(identity) in seen:
            problems.append(Problem(name, None, "stands there twice"))
            continue
        seen.add(str(identity))
        if label == "." and labelled:
            problems.append(Problem(name, None, "lies in no class folder"))
            continue
        if group_regex:
            match = re.search(group_regex, str(identity))
            if not match or not match.groups() or match.group(1) is None:
                problems.append(Problem(name, None, f"--group_regex {group_regex!r} finds no group "
                                                    f"in {str(identity)!r}"))
                continue
            group = match.group(1)
        path = str(data_dir) if member else str(pathlib.Path(data_dir, name))
        images.append(SourceImage(str(identity), path, member, group, [label], None, -1, name,
                                  None))
    return images, problems


def read_table(csv_path, data_dir, labelled=True):
    """`path,label[,id][,group][,fold]`; paths relative to `data_dir` and inside it; id = path.

    labelled: False makes the label optional.
    """
    images, problems, seen = [], [], {}
    root = pathlib.Path(data_dir).resolve()
    for row_number, row in _rows(csv_path, ["path", "label"] if labelled else ["path"]):
        bad = lambda what: problems.append(Problem(str(csv_path), row_number, what))
        image_id = row.get("id") or row["path"]
        try:
            path = (root / (row["path"] or "")).resolve()
            path.is_file()
        except (OSError, ValueError) as error:  # too long, or a NUL in it
            bad(f"{row['path'][:100]!r} cannot be a path ({error})")
            continue
        if not path.is_relative_to(root):
            bad(f"{row['path']!r} lies outside {data_dir}")
        elif not path.is_file():
            bad(f"no image {path}")
        elif labelled and not row["label"]:
            bad(f"{row['path']!r} has no label")
        elif image_id in seen:
            bad(f"id {image_id!r} stands in row {seen[image_id]} already")
        elif row.get("fold") and not re.fullmatch(r"\d{1,6}", row["fold"]):
            bad(f"fold {row['fold']!r} is not a whole number")
        else:
            seen[image_id] = row_number
            images.append(SourceImage(image_id, str(path), None, row.get("group") or "",
                                      [row.get("label") or ""], None, int(row.get("fold") or -1),
                                      str(csv_path), row_number))
    return images, problems


def check_image(image, max_megapixels, decode):
    """Problems of one image: unreadable, too large, boxes outside. Fills in its width and height,
    and drops the boxes that are at fault. decode: decode it whole, to find damage further in."""
    try:
        source = image.read() if decode or image.member else image.path
        if decode:
            image.height, image.width = decode_image(source, max_megapixels).shape[:2]
        else:
            _, image.width, image.height = open_image(source, max_megapixels)
    except BadImage as error:
        return [Problem(image.file, image.row, f"{image.image_id}: {error}")]
    if image.boxes is None:
        return []
    corner, size = image.boxes[:, :2], image.boxes[:, 2:]
    sized = (size > 0).all(axis=1)
    inside = ((corner >= 0) & (corner + size <= [image.width, image.height])).all(axis=1)
    problems = []
    for index in np.flatnonzero(~(sized & inside)):
        fault = (f"is not inside the page of {image.width} x {image.height} px" if sized[index]
                 else "has no size")
        problems.append(Problem(image.file, image.row, (
            f"page {image.image_id}: box {index} ({image.labels[index]} "
            f"{' '.join(map(str, image.boxes[index]))}) {fault}")))
    image.labels = [label for label, keep in zip(image.labels, sized & inside) if keep]
    image.boxes = image.boxes[sized & inside]
    return problems
