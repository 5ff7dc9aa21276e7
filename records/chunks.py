"""Cleaning, cutting and encoding the records of a chunk of images, in a worker process.

A chunk is two files: NAME.bin, the encoded records one after another (empty of images whose bytes are
taken as they are), and NAME.json, what is in it. The second is written last and renamed into place, so a
chunk that has it is whole.
"""
import dataclasses
import json
import pathlib

import cv2
import numpy as np

from records.annotations import Problem
from records.cleaning import denoised_crops, local_contrast
from records.files import replaced, write_json
from records.images import LINES, BadImage, decode_image, encode_image, fit_line, resize
from records.letterbox import Letterbox


@dataclasses.dataclass(frozen=True)
class CropOptions:
    """How a record is made of an image; all of it is kept in dataset.json."""
    size: int  # px, the side of the square record, or the height of a line of text
    channels: int  # 1 (gray) or 3 (RGB)
    fit: str | None  # stretch, stretch_area, pad, crop; line, column; of boxes and images
    margin: float | None  # of the box's width and height, added on each side
    local_contrast: bool
    denoise: bool
    encoding: str  # png, jpeg
    jpeg_quality: int
    max_megapixels: float
    records: str = "boxes"  # boxes, pages, images: of what a record is made
    aspect: float | None = None  # height:width that pages are padded to; width:height of lines of text

    @property
    def width(self):
        """px, of a record."""
        return round(self.size * self.aspect) if self.fit in LINES else self.size


def grown_rectangles(boxes, margin, width, height):
    """Boxes x y w h grown by `margin` of their size on every side (rounded) and clipped to the page.

    boxes: int [n, 4], px. Returns int [n, 4] x0 y0 x1 y1.
    """
    boxes = np.asarray(boxes, np.int64).reshape(-1, 4)
    grow = np.floor(boxes[:, 2:] * margin + 0.5).astype(np.int64)  # rounds halves up
    corners = np.concatenate([boxes[:, :2] - grow, boxes[:, :2] + boxes[:, 2:] + grow], axis=1)
    return np.clip(corners, 0, [width, height, width, height])


def cut_records(page, boxes, options):
    """Yields the finished records of a page, uint8 [size, width, channels] (BGR if 3 channels).

    page: uint8 [h, w, 3], BGR. boxes: int [n, 4] x y w h px; only those of records="boxes" count.
    """
    height, width = page.shape[:2]
    rectangles = (grown_rectangles(boxes, options.margin, width, height)
                  if options.records == "boxes" else np.array([[0, 0, width, height]]))
    if options.local_contrast:
        page = local_contrast(page)
    crops = (denoised_crops(page, rectangles) if options.denoise
             else (page[y0:y1, x0:x1] for x0, y0, x1, y1 in rectangles))
    for crop in crops:
        if options.channels == 1:
            crop = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[:, :, None]
        if options.records == "pages":
            yield Letterbox(width, height, options.size, options.aspect).draw(crop)
        elif options.fit in LINES:
            yield fit_line(crop, options.size, options.width, turned=options.fit == "column")
        else:
            yield resize(crop, options.size, options.fit)


def pack_chunk(images, options, path, as_they_are=False):
    """Writes the chunk of `images` at path.bin and path.json; returns the number of its images.

    as_they_are: their bytes are their records already; they are only decoded, for the statistics.
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    path = pathlib.Path(path)
    lengths, problems = {}, []
    pixels, total, squares = 0, *np.zeros((2, options.channels), np.int64)
    with replaced(path.with_suffix(".bin")) as beside, open(beside, "wb") as file:
        for image in images:
            record_ids = image.record_ids(options.records)
            if not record_ids:
                continue  # a page without text, of which no box is cut, need not be decoded
            try:
                data = image.read()
                page = decode_image(data, options.max_megapixels)
            except BadImage as error:
                problems.append(Problem(image.file, image.row, f"{image.image_id}: {error}"))
                continue
            for record_id, record in zip(record_ids, cut_records(page, image.boxes, options),
                                         strict=True):
                pixels += record.shape[0] * record.shape[1]
                for sums, values in ((total, record), (squares, np.square(record, dtype=np.uint16))):
                    # Exact, and so free of any order; OpenCV takes a thirtieth of NumPy's time.
                    sums += np.array(cv2.sumElems(values)[:options.channels], np.int64)
                if not as_they_are:
                    data = encode_image(record, options.encoding, options.jpeg_quality)
                    file.write(data)
                lengths[record_id] = len(data)
    write_json(path.with_suffix(".json"), {
        "lengths": lengths, "as_they_are": as_they_are, "problems": [dataclasses.asdict(p) for p in problems],
        "pixels": pixels, "sum": (total[::-1] / 255).tolist(),
        "squares": (squares[::-1] / 255 ** 2).tolist()})
    return len(images)


def read_chunk_index(path):
    """The contents of path.json, problems as Problem objects; None where the chunk is not whole."""
    try:
        index = json.loads(pathlib.Path(path).with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    size = pathlib.Path(path).with_suffix(".bin").stat().st_size
    if not index.get("as_they_are") and size != sum(index["lengths"].values()):
        return None
    index["problems"] = [Problem(**p) for p in index["problems"]]
    return index
