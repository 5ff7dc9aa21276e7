"""Batches of page crops: the boxes are those of the ink, and order is what the seed says."""
import numpy as np
import pytest
import tensorflow as tf

from pipeline.augmentation import Augmentation, InputFormat
from pipeline.cache import ImageSource
from pipeline.colour import Colour
from pipeline.erasing import Erasing
from pipeline.filters import Filters
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing
from pipeline.page_batches import (PageBoxes, change_on_device, page_steps_per_epoch,
                                   page_training_batches)

PAGE, CROP, SIDE, STEP = 192, 96, 16, 32  # px: page, crop, a character, from one to the next
PER_PAGE = np.array([36, 0, 9, 36, 20])
PLAIN = InputFormat(CROP, 1, (0.0,), (1 / 255,), "float32")


def make_pages():
    """Pages with a grid of filled squares; the class id of a character is the level of its ink."""
    pages, boxes, class_ids = np.zeros((len(PER_PAGE), PAGE, PAGE, 1), np.uint8), [], []
    for page, count in zip(pages, PER_PAGE):
        for k in range(count):
            x, y = 8 + STEP * (k % 6), 8 + STEP * (k // 6)
            level = 60 + 5 * k
            page[y:y + SIDE, x:x + SIDE] = level
            boxes.append([x, y, x + SIDE, y + SIDE])
            class_ids.append(level)
    return pages, PageBoxes(np.float32(boxes) / PAGE, np.int32(class_ids),
                            np.concatenate([[0], np.cumsum(PER_PAGE)]))


PAGES, BOXES = make_pages()


EVERYTHING = Augmentation(
    geometry=Geometry(rotate=10, scale=0.2, affine_p=0.9),
    filters=Filters(noise=0.1, blur=1.0, clahe=0.5, p=0.5), colour=Colour(0.5, 0.2, 0.2, gamma=0.2))


def source_of(pages, kind="decoded"):
    """An ImageSource of uint8 [n, h, w, c] pages."""
    images = tf.constant(pages)
    fetch = lambda positions: positions.map(lambda batch: tf.gather(images, batch))
    if kind == "decoded":
        return ImageSource(kind, fetch, 0, images=images)
    data = tf.constant([tf.io.encode_png(page).numpy() for page in pages])
    return ImageSource(kind, fetch, 0, fetch_encoded=lambda positions: positions.map(
        lambda batch: tf.gather(data, batch)))


def batches(pages=PAGES, positions=range(5), augmentation=Augmentation(), form=PLAIN,
            boxes=BOXES, kind="decoded", **options):
    source = source_of(pages, kind)
    targets = lambda boxes, class_ids, count: {"boxes": boxes, "class_ids": class_ids,
                                               "count": count}
    return page_training_batches(source, positions, boxes, augmentation, form, targets, **{
        "batch_size": 4, "seed": 1, "n_epochs": 2, "crops_per_page": 4, "max_boxes": 40} | options)


@pytest.mark.parametrize("rotate, scale", [(0, 0), (10, 0.2)])
def test_boxes_lie_on_their_ink(rotate, scale):
    seen = 0
    for images, targets in batches(augmentation=Augmentation(
            geometry=Geometry(rotate=rotate, scale=scale, affine_p=0.9))):
        for image, boxes, class_ids, count in zip(
                images.numpy()[..., 0], targets["boxes"].numpy(), targets["class_ids"].numpy(),
                targets["count"].numpy()):
            assert (boxes[count:] == 0).all() and (class_ids[count:] == -1).all()
            for (x0, y0, x1, y1), class_id in zip(boxes[:count], class_ids):
                assert 0 <= x0 < x1 <= CROP and 0 <= y0 < y1 <= CROP
                level = image[int((y0 + y1) / 2), int((x0 + x1) / 2)]
                # A sliver at the border may show the blurred edge of its ink.
                whole = min(x0, y0) > 0 and max(x1, y1) < CROP
                assert abs(level - class_id) <= 1 or not whole and rotate
                seen += 1
            found = set(np.unique(image.round()).astype(int)) - {0}
            if not rotate:  # what is not in the boxes shows less than half of itself
                lost = found - set(class_ids.tolist())
                assert all((image == level).sum() <= SIDE ** 2 / 2 for level in lost)
    assert seen > 100


def test_shapes_are_static_and_epochs_show_each_page_equally_often():
    numbered = np.zeros_like(PAGES) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    dataset = batches(numbered, [0, 1, 2, 4])
    images, targets = dataset.element_spec
    assert images.shape == (4, CROP, CROP, 1) and targets["boxes"].shape == (4, 40, 4)
    assert targets["left_out"].shape == targets["count"].shape == (4,)
    pages = [images.numpy()[:, 0, 0, 0].astype(int) for images, _ in dataset]
    assert len(pages) == 8 == 2 * page_steps_per_epoch(4, 4, 4)
    for epoch in (pages[:4], pages[4:]):
        assert np.bincount(np.concatenate(epoch)).tolist() == [4, 4, 4, 0, 4]
    assert not np.array_equal(pages[:4], pages[4:])


def test_starting_at_a_step_goes_on_as_if_never_stopped():
    options = {"augmentation": EVERYTHING}
    whole = list(batches(**options, n_epochs=1).as_numpy_iterator())
    rest = list(batches(**options, start_step=3, n_epochs=1).as_numpy_iterator())
    assert len(whole) == 5 and len(rest) == 2
    for (images, targets), (other_images, other_targets) in zip(whole[3:], rest, strict=True):
        assert (images == other_images).all()
        assert all((targets[k] == other_targets[k]).all() for k in targets)


def test_encoded_and_decoded_pages_give_the_same():
    for (one, learnt), (other, also) in zip(batches(augmentation=EVERYTHING), batches(
            augmentation=EVERYTHING, kind="encoded"), strict=True):
        assert (one == other).numpy().all() and (learnt["boxes"] == also["boxes"]).numpy().all()


def test_the_device_makes_the_same_of_windows_and_plan():
    on_host = batches(augmentation=EVERYTHING)
    on_device = batches(augmentation=EVERYTHING, augment_on="device")
    windows = on_device.element_spec[0]["images"]
    assert windows.dtype == tf.uint8 and CROP < windows.shape[1] < PAGE

    finish = tf.function(change_on_device(EVERYTHING, PLAIN), jit_compile=True)
    for (images, learnt), drawn in zip(on_host, on_device, strict=True):
        others, also = finish(*drawn)
        difference = np.abs(images - others).ravel()
        assert difference.max() <= 3 and difference.mean() < 0.01  # levels, of several roundings
        assert all((learnt[name] == also[name]).numpy().all() for name in learnt)


def test_another_seed_is_another_order():
    first, other = (next(batches(seed=seed).as_numpy_iterator())[0] for seed in (1, 2))
    assert (first != other).any()


def test_what_does_not_fit_is_counted():
    plenty, few = list(batches()), list(batches(max_boxes=3))
    assert max(int(targets["count"].numpy().max()) for _, targets in plenty) > 3
    for (_, targets), (_, cut) in zip(plenty, few, strict=True):
        assert not targets["left_out"].numpy().any()
        assert (cut["count"] + cut["left_out"] == targets["count"]).numpy().all()
        assert (cut["boxes"] == targets["boxes"][:, :3]).numpy().all()


def test_pages_without_any_character_are_legal():
    empty = PageBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(6, np.int64))
    for _, targets in batches(boxes=empty):
        assert not targets["count"].numpy().any() and (targets["class_ids"].numpy() == -1).all()


def test_dtype_and_channels_of_the_network():
    form = InputFormat(CROP, 3, (0.5,) * 3, (0.25,) * 3, "bfloat16")
    images, _ = next(iter(batches(np.tile(PAGES, 3), form=form)))
    assert images.dtype == tf.bfloat16 and images.shape == (4, CROP, CROP, 3)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="--batch_size=21, but an epoch has only 20 crops"):
        page_steps_per_epoch(5, 4, 21)
    with pytest.raises(ValueError, match="only 20 crops"):
        batches(batch_size=21)
    with pytest.raises(ValueError, match="crops of 96 px .* these are 80 x 80 px"):
        batches(PAGES[:, :80, :80])
    with pytest.raises(ValueError, match="these are 192 x 150 px"):
        batches(PAGES[:, :150])
    with pytest.raises(ValueError, match="row_splits end at 7 characters"):
        PageBoxes(np.zeros((5, 4)), np.zeros(5), np.array([0, 7]))
    for name, part in {"geometry": Geometry(hflip=0.5), "mixing": Mixing(mixup=1.0),
                       "erasing": Erasing(p=0.5)}.items():
        with pytest.raises(ValueError, match="geometry of page crops is rotate, scale"):
            batches(augmentation=Augmentation(**{name: part}))
