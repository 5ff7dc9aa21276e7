"""Sets of whole images: a folder per class (or a zip of them), or a table of paths and labels."""
import os
import pathlib
import re
import unicodedata
import zipfile

from records.annotations import (IMAGE_SUFFIXES, AnnotationError, Problem, SourceImage, csv_rows,
                                 inside)


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


def find_group(group_regex, name):
    """The first group of `group_regex`, searched in `name`; "" without one. Raises ValueError."""
    if not group_regex:
        return ""
    match = re.search(group_regex, name)
    if not match or not match.groups() or match.group(1) is None:
        raise ValueError(f"--group_regex {group_regex!r} finds no group in {name!r}")
    return match.group(1)


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
        label = str(identity.parent)
        if str(identity) in seen:
            problems.append(Problem(name, None, "stands there twice"))
            continue
        seen.add(str(identity))
        if label == "." and labelled:
            problems.append(Problem(name, None, "lies in no class folder"))
            continue
        try:
            group = find_group(group_regex, str(identity))
        except ValueError as error:
            problems.append(Problem(name, None, str(error)))
            continue
        path = str(data_dir) if member else str(pathlib.Path(data_dir, name))
        images.append(SourceImage(str(identity), path, member, group, [label], None, -1, name,
                                  None))
    return images, problems


def has_several_labels(csv_path):
    """Whether a table has the column `labels`, of any number of labels an image, instead of `label`."""
    _, row = next(csv_rows(csv_path, ["path"]), (1, {}))
    return "labels" in row and "label" not in row


def read_table(csv_path, data_dir, labelled=True, text=False):
    """`path,label[,id][,group][,fold]`; paths relative to `data_dir` and inside it; id = path.

    Instead of `label` there may be `labels`: names separated by `|`, or nothing for an image without
    one. text: the column is `text`, what stands on the image. labelled: False makes any of them optional, and
    reads none.
    """
    images, problems, seen = [], [], {}
    several = not text and has_several_labels(csv_path)
    column = "text" if text else "labels" if several else "label"
    for row_number, row in csv_rows(csv_path, ["path", column] if labelled else ["path"]):
        bad = lambda what: problems.append(Problem(str(csv_path), row_number, what))
        image_id = row.get("id") or row["path"]
        try:
            path = inside(data_dir, row["path"] or "")
        except ValueError as error:
            bad(str(error))
            continue
        try:
            labels = (split_labels(row["labels"]) if labelled else []) if several else [row.get(column) or ""]
            if text and labelled:
                check_text(labels[0])
        except ValueError as error:
            bad(f"{row['path']!r}: {error}")
            continue
        if labelled and labels == [""]:
            bad(f"{row['path']!r} has no {column}")
        elif image_id in seen:
            bad(f"id {image_id!r} stands in row {seen[image_id]} already")
        elif row.get("fold") and not re.fullmatch(r"\d{1,6}", row["fold"]):
            bad(f"fold {row['fold']!r} is not a whole number")
        else:
            seen[image_id] = row_number
            images.append(SourceImage(image_id, str(path), None, row.get("group") or "",
                                      labels, None, int(row.get("fold") or -1),
                                      str(csv_path), row_number))
    return images, problems


def check_text(text):
    """Raises ValueError for a text with a character that no line can show, such as its end."""
    odd = next((c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if odd is not None:
        raise ValueError(f"text {text!r} has U+{ord(odd):04X}, a control character: it must be one line")


def split_labels(text):
    """`red|round` -> ["red", "round"], "" -> []; None: the field is missing. Raises ValueError."""
    if text is None:
        raise ValueError("the row has no field of labels, which may be empty but must be there")
    names = text.split("|") if text else []
    if not all(name.strip() for name in names):
        raise ValueError(f"labels {text!r} has an empty name: they must be separated by one |")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"label {twice!r} stands there twice")
    return names
