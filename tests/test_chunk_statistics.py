"""Sums over the pixels of a chunk: exact for extremes, of large pages too."""
import json

import cv2
import numpy as np
import pytest

from records.annotations import SourceImage
from records.chunks import CropOptions, pack_chunk


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side, fill", [(40, None), (1200, 255)])
def test_sums_are_exact(tmp_path, channels, side, fill):
    random, images, pixels = np.random.default_rng(0), [], []
    for number in range(3):
        image = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
        if fill is not None:
            image[:] = fill
        path = tmp_path / f"{number}.png"
        assert cv2.imwrite(str(path), image)
        images.append(SourceImage(str(number), str(path), None, "", ["a"], None, -1, "x", None))
        pixels.append(image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None])
    options = CropOptions(side, channels, "stretch", 0, False, False, "png", 95, 200, "images")
    assert pack_chunk(images, options, tmp_path / "chunk") == 3
    index = json.loads((tmp_path / "chunk.json").read_text())
    pixels = np.stack(pixels)[..., ::-1].astype(np.int64)
    assert index["pixels"] == pixels[..., 0].size
    assert index["sum"] == (pixels.sum((0, 1, 2)) / 255).tolist()
    assert index["squares"] == (np.square(pixels).sum((0, 1, 2)) / 255 ** 2).tolist()
