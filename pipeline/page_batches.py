"""Training batches of page crops with the boxes of their characters."""
import dataclasses

import numpy as np
import tensorflow as tf

from pipeline.batches import dataset_options
from pipeline.geometry import warp
from pipeline.host import on_host
from pipeline.order import training_positions
from pipeline.page_geometry import draw_page_maps, place_boxes, select_boxes
from pipeline.page_pixels import PagePixels, page_pixel_stage


@dataclasses.dataclass(frozen=True)
class PageBoxes:
    """The characters of the pages in use, page by page, in the order of the image source.

    boxes: float32 [total, 4], x0 y0 x1 y1 in shares of the page record. class_ids: int32 [total].
    row_splits: int64 [pages + 1]: page i has the characters row_splits[i] to row_splits[i + 1].
    """
    boxes: np.ndarray
    class_ids: np.ndarray
    row_splits: np.ndarray

    def __post_init__(self):
        total = self.row_splits[-1]
        if self.boxes.shape != (total, 4) or self.class_ids.shape != (total,):
            raise ValueError(f"row_splits end at {total} characters, but boxes are of shape "
                             f"{self.boxes.shape} and class_ids of {self.class_ids.shape}: "
                             f"they must be ({total}, 4) and ({total},)")

    def fetch(self, positions):
        """int64 [b] pages -> boxes [b, m, 4], class ids [b, m], count [b]; m: the most of a page,
        at least 1."""
        most = max(1, int(np.diff(self.row_splits).max(initial=0)))
        splits = tf.constant(self.row_splits, tf.int64)
        rows = lambda values: tf.gather(tf.RaggedTensor.from_row_splits(values, splits), positions)
        boxes = rows(tf.constant(self.boxes, tf.float32))
        class_ids = rows(tf.constant(self.class_ids, tf.int32))
        batch = positions.shape[0]
        count = tf.ensure_shape(tf.cast(boxes.row_lengths(), tf.int32), [batch])
        return (boxes.to_tensor(shape=[batch, most, 4]),
                class_ids.to_tensor(-1, shape=[batch, most]), count)


@dataclasses.dataclass(frozen=True)
class PageAugmentation:
    """rotate: degrees, each way. scale: share, each way. affine_p: probability of both. These are
    system D's 10, 0.2 and 0.9; 0 is off."""
    rotate: float = 0.0
    scale: float = 0.0
    affine_p: float = 1.0
    pixels: PagePixels = PagePixels()


def page_steps_per_epoch(n_pages, crops_per_page, batch_size):
    """Whole batches in an epoch. Raises ValueError when there is not even one."""
    crops = n_pages * crops_per_page
    if crops < batch_size:
        raise ValueError(f"--batch_size={batch_size}, but an epoch has only {crops} crops "
                         f"({n_pages} pages x --crops_per_page={crops_per_page}): choose a smaller "
                         "batch or more crops of each page")
    return crops // batch_size


@on_host
def page_training_batches(source, positions, boxes, augmentation, input_format, targets, *,
                          batch_size, seed, n_epochs, crops_per_page, max_boxes, start_step=0):
    """Dataset of (images [batch, size, size, c], what `targets` returns and "left_out").

    source: an ImageSource of square pages. positions: int [n], where in it, and in `boxes` (a
    PageBoxes), each training page lies. input_format.size: side of a crop, px. An epoch shows every
    page `crops_per_page` times, in a new order and each time elsewhere.
    targets: a function (boxes float32 [batch, max_boxes, 4] in px of the crop, class ids int32
    [batch, max_boxes], count int32 [batch]) -> dict of tensors: the boxes are those of
    select_boxes; a crop may have none. "left_out": int32 [batch], characters beyond max_boxes.
    Batch number k is a pure function of (seed, k): starting at `start_step` gives what an
    uninterrupted run would have got from there on.
    Memory: a few batches of whole pages, batch x 7 MB each at 1536 px RGB.
    """
    positions = np.asarray(positions, np.int64)
    page_steps_per_epoch(len(positions), crops_per_page, batch_size)
    crops = tf.constant(np.repeat(positions, crops_per_page))
    drawn = training_positions(np.zeros(len(crops), int), None, seed, batch_size, n_epochs,
                               start_step).map(lambda batch: tf.gather(crops, batch))
    pixels = page_pixel_stage(augmentation.pixels, input_format.mean, input_format.std,
                              input_format.dtype)
    size = input_format.size
    pages = source.fetch(drawn)
    _, height, width, _ = pages.element_spec.shape
    if height != width or size > width:
        raise ValueError(f"crops of {size} px are cut from square pages at least as large, these "
                         f"are {width} x {height} px: choose a smaller --dim, or repack the pages")

    def augment(step, pages, where):
        now = tf.stack([tf.constant(seed, tf.int64), step])
        maps = draw_page_maps(now, batch_size, augmentation.rotate, augmentation.scale,
                              augmentation.affine_p, width, size)
        page_boxes, class_ids, count = boxes.fetch(where)
        seen, class_ids, kept, left_out = select_boxes(place_boxes(maps, page_boxes), class_ids,
                                                       count, max_boxes)
        return (pixels(now, warp(pages, maps, size)),
                targets(seen * size, class_ids, kept) | {"left_out": left_out})
    step = tf.data.Dataset.counter(start_step)
    dataset = tf.data.Dataset.zip(step, pages, drawn)
    return dataset.map(augment, tf.data.AUTOTUNE, deterministic=True).with_options(
        dataset_options()).prefetch(tf.data.AUTOTUNE)
