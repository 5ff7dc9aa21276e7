"""Training batches of page crops with the boxes of their characters."""
import dataclasses

import numpy as np
import tensorflow as tf

from pipeline.augmentation import augment, change_levels, draw_pixel_plan, finish
from pipeline.batches import dataset_options, do_not_convert
from pipeline.erasing import Erasing
from pipeline.geometry import Geometry
from pipeline.host import on_host
from pipeline.mixing import Mixing
from pipeline.order import training_positions
from pipeline.page_geometry import draw_page_maps, place_boxes, select_boxes
from pipeline.rand_augment import Policy
from pipeline.windows import cut_windows, page_data, place_windows, window_side


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
                          batch_size, seed, n_epochs, crops_per_page, max_boxes, start_step=0,
                          augment_on="host", worker=0, n_workers=1):
    """Dataset of (images [batch, size, size, c], what `targets` returns and "left_out"); with
    augment_on="device" of ({"images": uint8 windows of the pages, "plan": a plan}, the same targets),
    which change_on_device turns into the same.

    source: an ImageSource of square pages. positions: int [n], where in it, and in `boxes` (a
    PageBoxes), each training page lies. augmentation: an Augmentation; of its geometry rotate, scale
    and affine_p, neither mixing nor erasing. input_format.size: side of a crop, px. An epoch shows every
    page `crops_per_page` times, in a new order and each time elsewhere.
    targets: a function (boxes float32 [batch, max_boxes, 4] in px of the crop, class ids int32
    [batch, max_boxes], count int32 [batch]) -> dict of tensors: the boxes are those of
    select_boxes; a crop may have none. "left_out": int32 [batch], characters beyond max_boxes.
    worker, n_workers: of several input pipelines this one yields the worker's part of each batch.
    Batch number k is a pure function of (seed, k): starting at `start_step` gives what an
    uninterrupted run would have got from there on.
    """
    positions = np.asarray(positions, np.int64)
    page_steps_per_epoch(len(positions), crops_per_page, batch_size)
    crops = tf.constant(np.repeat(positions, crops_per_page))
    drawn = training_positions(np.zeros(len(crops), int), None, seed, batch_size, n_epochs,
                               start_step, worker, n_workers).map(
                                   lambda batch: tf.gather(crops, batch))
    _, height, page, channels = source.fetch(drawn).element_spec.shape
    size = input_format.size
    if height != page or size > page:
        raise ValueError(f"crops of {size} px are cut from square pages at least as large, these "
                         f"are {page} x {height} px: choose a smaller --dim, or repack the pages")
    g = augmentation.geometry
    if (g != Geometry(rotate=g.rotate, scale=g.scale, affine_p=g.affine_p)
            or (augmentation.policy, augmentation.mixing, augmentation.erasing)
            != (Policy(), Mixing(), Erasing())):
        raise ValueError("the geometry of page crops is rotate, scale and affine_p, and they are neither "
                         f"mixed nor erased, so that their boxes hold; given: {augmentation}")
    window = window_side(page, size, g.rotate, g.scale)
    part = batch_size // n_workers
    own = lambda plan: tf.nest.map_structure(lambda x: x[worker * part:(worker + 1) * part], plan)

    @do_not_convert
    def draw(step, where, pages):
        now = tf.stack([tf.constant(seed, tf.int64), step])
        maps = own(draw_page_maps(now, batch_size, g.rotate, g.scale, g.affine_p, page, size))
        corners, seen = place_windows(maps, page, size, window)
        plan = {"maps": seen} | own(draw_pixel_plan(now, batch_size, augmentation, input_format))
        page_boxes, class_ids, count = boxes.fetch(where)
        found, class_ids, kept, left_out = select_boxes(place_boxes(maps, page_boxes), class_ids,
                                                        count, max_boxes)
        return (pages, corners, plan, found * size, class_ids, kept, left_out)

    @do_not_convert
    def show(window, plan, *boxes):
        if augment_on == "device":
            return {"images": window, "plan": plan}, *boxes
        one = tf.nest.map_structure(lambda part: part[None], plan)
        return change_levels(window[None], one, augmentation, size)[0], *boxes

    @do_not_convert
    def complete(images, found, class_ids, kept, left_out):
        if augment_on == "host":
            images = finish(images, {}, input_format)
        return images, targets(found, class_ids, kept) | {"left_out": left_out}
    placed = tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), drawn,
                                 page_data(source, drawn)).map(draw)
    # Crop by crop: all that a core works on then fits in its cache.
    return cut_windows(source, placed, window, channels, show).map(
        complete, tf.data.AUTOTUNE, deterministic=True).with_options(
            dataset_options()).prefetch(tf.data.AUTOTUNE)


def change_on_device(augmentation, input_format):
    """A function that turns what page_training_batches yields for the device, or one replica's part
    of it, into (images, targets)."""
    return lambda drawn, targets: (augment(drawn["images"], None, drawn["plan"], augmentation,
                                           input_format)[0], targets)
