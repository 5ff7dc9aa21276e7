"""The page in its square record: where marks land, what the padding is, coordinates both ways."""
import numpy as np
import pytest

from records.letterbox import Letterbox, is_strip

# width, height, size, aspect: tall, wide, tiny, one pixel, large, as it should be, shrunk on one
# side and enlarged on the other, an aspect without an exact inverse
PAGES = [(90, 400, 96, 1.5), (500, 120, 96, 1.5), (23, 31, 128, 1.5), (1, 1, 16, 1.5),
         (1400, 1900, 200, 1.0), (200, 300, 128, 1.5), (100, 110, 124, 1.5), (173, 190, 100, 1.1),
         (640, 480, 64, 0.7)]


def padded_size(width, height, aspect):
    """The smallest page that holds this one and is as tall, or as wide, as the aspect says."""
    tall, wide = height, width
    while tall + 1e-9 < wide * aspect and height < width * aspect:
        tall += 1
    while wide * aspect + 1e-9 < tall and height > width * aspect:
        wide += 1
    return wide, tall


@pytest.mark.parametrize("width, height, size, aspect", PAGES)
def test_padding_is_the_smallest_that_gives_the_aspect(width, height, size, aspect):
    box = Letterbox(width, height, size, aspect)
    assert box.padded == padded_size(width, height, aspect)
    assert box.scale == (size / box.padded[0], size / box.padded[1])
    assert width == box.padded[0] or height == box.padded[1]


def overlap(first, last, n):
    """float64 [n]: how much of each pixel lies in first..last."""
    return np.array([max(0.0, min(last, i + 1) - max(first, i)) for i in range(n)])


@pytest.mark.parametrize("width, height, size, aspect", PAGES[:3] + PAGES[4:])
def test_marks_land_where_their_coordinates_do(width, height, size, aspect):
    box, random = Letterbox(width, height, size, aspect), np.random.default_rng(1)
    side = [max(1, round(3 / scale)) for scale in box.scale]  # about three px of the record
    for _ in range(6):
        x, y = (int(random.integers(0, max(1, length - s + 1)))
                for s, length in zip(side, (width, height)))
        page = np.zeros((height, width, 3), np.uint8)
        page[y:y + side[1], x:x + side[0]] = 250
        page[[0, -1]] = page[:, [0, -1]] = 0  # the padding stays black
        inner = [max(x, 1), max(y, 1), min(x + side[0], width - 1), min(y + side[1], height - 1)]
        if inner[2] <= inner[0] or inner[3] <= inner[1]:
            continue
        record = box.draw(page)[:, :, 0].astype(float)
        (x0, y0), (x1, y1) = box.to_record(np.array(inner).reshape(2, 2))
        centre = [(record.sum(a) * (np.arange(size) + 0.5)).sum() / record.sum() for a in (0, 1)]
        np.testing.assert_allclose(centre, [(x0 + x1) / 2, (y0 + y1) / 2], atol=0.12)
        if min(box.padded) >= size:  # shrunk by area: each pixel's share of the mark is its value
            np.testing.assert_allclose(
                record, 250 * np.outer(overlap(y0, y1, size), overlap(x0, x1, size)), atol=2)


@pytest.mark.parametrize("width, height, size, aspect", PAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_padding_of_the_borders_mean(width, height, size, aspect, channels):
    box, random = Letterbox(width, height, size, aspect), np.random.default_rng(2)
    page = random.integers(0, 256, (height, width, channels), np.uint8)
    record = box.draw(page)
    assert record.shape == (size, size, channels) and record.dtype == np.uint8
    reach = np.maximum(1, np.multiply(2, box.scale))  # of cubic interpolation, two px of the page
    right, bottom = np.ceil(box.to_record([width, height]) + reach).astype(int)
    border = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]]).astype(float).mean(0)
    for padding in (record[:, right:], record[bottom:]):
        assert (np.abs(padding - border) <= 0.5).all()


def test_a_page_of_the_records_own_size_is_kept_bit_for_bit():
    page = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    assert (Letterbox(64, 64, 64, 1.0).draw(page) == page).all()


def test_round_trip():
    random = np.random.default_rng(4)
    for _ in range(300):
        width, height = random.integers(1, 20000, 2)
        box = Letterbox(int(width), int(height), int(random.integers(8, 4097)),
                        float(random.uniform(0.05, 20)))
        points = random.uniform(0, 1, (5, 2, 2)) * [width, height]
        there = box.to_record(points)
        assert there.shape == points.shape and there.dtype == np.float64
        assert (there >= 0).all() and (there <= box.size + 1e-9).all()
        assert np.abs(box.to_page(there) - points).max() < 1e-6
    there = box.to_record([[3, 5]])
    assert there[0, 0] == pytest.approx(3 * box.size / box.padded[0])
    assert there[0, 1] == pytest.approx(5 * box.size / box.padded[1])


def test_another_page_and_strips_are_refused():
    with pytest.raises(ValueError, match="the page is 30 x 20 px, its letterbox is for 20 x 30"):
        Letterbox(20, 30, 64, 1.5).draw(np.zeros((20, 30, 3), np.uint8))
    assert is_strip(1000, 9) and is_strip(9, 1000) and not is_strip(1000, 10)


def test_the_real_page_fits_system_d(test_data):
    from records.annotations import find_image, read_truth
    from records.images import decode_image
    folder = test_data / "kuzushiji_page"
    (page_id, (_, boxes)), = read_truth(folder / "train.csv").items()
    page = decode_image(find_image(folder / "train_images", page_id).read_bytes())
    height, width = page.shape[:2]
    box = Letterbox(width, height, 1536, 1.5)
    assert box.draw(page).shape == (1536, 1536, 3)
    assert box.padded[1] / box.padded[0] == pytest.approx(1.5, abs=1e-3)
    centres = box.to_page(box.to_record(boxes[:, :2] + boxes[:, 2:] / 2))
    assert len(boxes) == 67 and (centres > boxes[:, :2]).all()
    assert (centres < boxes[:, :2] + boxes[:, 2:]).all()
