"""Writing on a page that must not be read (ruby, shine-through): `image_id,kind,x,y,w,h`, px."""
import csv
import re

from records.annotations import AnnotationError

COLUMNS = ("image_id", "kind", "x", "y", "w", "h")


def read_unread(csv_path):
    """{image_id: [(kind, x, y, w, h)]}, in the file's order; kind: str, the rest whole px.

    A page without such writing is not in it. Raises AnnotationError naming the row.
    """
    unread = {}
    try:
        with open(csv_path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise AnnotationError(f"{csv_path} has the columns "
                                      f"{','.join(reader.fieldnames or ['(none)'])}; it must have "
                                      f"{','.join(COLUMNS)}, as records.demo_pages writes them")
            for row in reader:
                fault = _fault(row)
                if fault:
                    raise AnnotationError(f"{csv_path}, row {reader.line_num}: {fault}")
                unread.setdefault(row["image_id"], []).append(
                    (row["kind"], *(int(row[name]) for name in COLUMNS[2:])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{csv_path} cannot be read as a UTF-8 CSV: {error}") from error
    return unread


def _fault(row):
    """What is wrong with a row, or None."""
    if None in row or None in row.values():
        return f"it must have {len(COLUMNS)} fields ({','.join(COLUMNS)})"
    if not row["image_id"] or not row["kind"]:
        return f"image_id {row['image_id']!r} and kind {row['kind']!r} must not be empty"
    for name in COLUMNS[2:]:
        if not re.fullmatch(r"\d{1,9}", row[name], re.ASCII):
            return f"{name} {row[name]!r} is not a whole number of pixels, 0 or more"
    if int(row["w"]) == 0 or int(row["h"]) == 0:
        return f"the box is {row['w']} x {row['h']} px: it must have a size"
    return None
