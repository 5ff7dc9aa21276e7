"""Writing on a page that must not be read (ruby, shine-through): `image_id,kind,x,y,w,h`, px."""
import re

from records.annotations import AnnotationError, csv_rows

COLUMNS = ("image_id", "kind", "x", "y", "w", "h")


def read_unread(csv_path):
    """{image_id: [(kind, x, y, w, h)]}, in the file's order; kind: str, the rest whole px.

    A page without such writing is not in it. Raises AnnotationError naming the row.
    """
    unread = {}
    for row_number, row in csv_rows(csv_path, COLUMNS):
        fault = _fault(row)
        if fault:
            raise AnnotationError(f"{csv_path}, row {row_number}: {fault}")
        unread.setdefault(row["image_id"], []).append(
            (row["kind"], *(int(row[name]) for name in COLUMNS[2:])))
    return unread


def _fault(row):
    """What is wrong with a row, or None."""
    if None in row or None in row.values():
        return f"it must have a field for each column ({','.join(COLUMNS)})"
    if not row["image_id"] or not row["kind"]:
        return f"image_id {row['image_id']!r} and kind {row['kind']!r} must not be empty"
    for name in COLUMNS[2:]:
        if not re.fullmatch(r"\d{1,9}", row[name], re.ASCII):
            return f"{name} {row[name]!r} is not a whole number of pixels, 0 or more"
    if int(row["w"]) == 0 or int(row["h"]) == 0:
        return f"the box is {row['w']} x {row['h']} px: it must have a size"
    return None
