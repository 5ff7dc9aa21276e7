import cv2
import numpy as np
import pytest

from records import cleaning
from records.chunks import grown_rectangles
from tests.helpers import random_page


def test_local_contrast_is_the_formula():
    page = random_page(np.random.default_rng(0), 60, 50)
    wide = page.astype(np.float64)
    blurred = cv2.GaussianBlur(page, (0, 0), 10).astype(np.float64)
    expected = np.clip(4 * wide - 4 * blurred + 128, 0, 255).astype(np.uint8)
    assert (cleaning.local_contrast(page) == expected).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_crops_equal_those_of_the_whole_page(seed):
    random = np.random.default_rng(seed)
    page = cv2.add(random_page(random, 200, 160), random.integers(0, 30, (200, 160, 3)).astype(np.uint8))
    rectangles = [(0, 0, 20, 15), (60, 90, 80, 95), (150, 190, 160, 200), (40, 0, 41, 1)]
    whole = cleaning.denoise(page)
    crops = list(cleaning.denoised_crops(page, rectangles))
    for crop, (x0, y0, x1, y1) in zip(crops, rectangles, strict=True):
        assert (crop == whole[y0:y1, x0:x1]).all()


def test_a_full_page_is_denoised_once(monkeypatch):
    page = random_page(np.random.default_rng(0), 60, 60)
    calls, denoise = [], cleaning.denoise
    monkeypatch.setattr(cleaning, "denoise", lambda image: calls.append(image.shape) or denoise(image))
    list(cleaning.denoised_crops(page, [(0, 0, 50, 50), (5, 5, 60, 60)]))
    assert calls == [page.shape]


def test_boxes_grow_and_are_clipped():
    grown = grown_rectangles([[10, 20, 30, 50], [0, 0, 9, 9], [80, 80, 20, 20]], 0.05, 100, 100)
    # 5% of 30 is 1.5 -> 2, of 50 is 2.5 -> 3; of 9 is 0.45 -> 0; of 20 is 1, clipped at the edge.
    assert grown.tolist() == [[8, 17, 42, 73], [0, 0, 9, 9], [79, 79, 100, 100]]


def test_real_page(test_data):
    """Every crop of the real page is bit for bit that of the page cleaned whole."""
    import pandas as pd
    folder = test_data / "kuzushiji_page"
    page = cv2.imread(str(next((folder / "train_images").glob("*.jpg"))))
    fields = pd.read_csv(folder / "train.csv").labels[0].split()
    boxes = np.array(fields).reshape(-1, 5)[:, 1:].astype(int)
    boxes = boxes[np.argsort(boxes[:, 1])][:24]  # the upper part: the whole page takes 15 s
    page = page[:boxes[:, [1, 3]].sum(1).max() + 20]
    page = cleaning.local_contrast(page)
    rectangles = grown_rectangles(boxes, 0.05, page.shape[1], page.shape[0])
    whole = cleaning.denoise(page)
    for crop, (x0, y0, x1, y1) in zip(cleaning.denoised_crops(page, rectangles), rectangles,
                                      strict=True):
        assert (crop == whole[y0:y1, x0:x1]).all()
