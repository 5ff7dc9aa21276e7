"""The size of a JPEG by its header, against Pillow, and of what only looks like one."""
import io

import numpy as np
import pytest
from PIL import Image

from records.images import plain_jpeg_size


def encoded(mode="RGB", size=(180, 120), kind="JPEG", **how):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **how)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


@pytest.mark.parametrize("how", [
    {}, {"progressive": True}, {"mode": "L"}, {"size": (1, 999)}, {"comment": b"\xff\xc0" * 40},
    {"icc_profile": b"x" * 70000}, {"optimize": True}])
def test_as_pillow_sees_it(how):
    data = encoded(**how)
    assert plain_jpeg_size(data) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize("data", [
    turned(), encoded("CMYK"), encoded(kind="PNG"), encoded()[:-2], encoded() + b"\0", b"", b"\xff\xd8\xff\xd9",
    b"\xff\xd8" + b"\xff" * 100 + b"\xff\xd9"])
def test_all_else_is_for_the_decoder(data):
    assert plain_jpeg_size(data) is None


def test_no_header_of_chance_is_an_error():
    random, whole = np.random.default_rng(1), bytearray(encoded(size=(40, 30)))
    for _ in range(3000):
        data = bytearray(whole)
        data[2 + random.integers(0, 200)] = random.integers(256)
        size = plain_jpeg_size(bytes(data[:random.integers(4, 400)] + b"\xff\xd9"))
        assert size is None or len(size) == 2 and min(size) > 0
