"""What an image is like as a whole: brightness, colourfulness, size and format (1st place of system C)."""
import numpy as np

NAMES = ("brightness", "colourfulness", "longer_side", "is_portrait")
LUMA = (0.299, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)


def brightness(image):
    """Mean of 0.299 R + 0.587 G + 0.114 B, 0..255. image: uint8 [h, w, 3], RGB. Raises ValueError."""
    pixels = _pixels(image)
    sums = pixels.sum(0, dtype=np.int64)  # [3]
    return float(sum(weight * int(total) for weight, total in zip(LUMA, sums)) / len(pixels))


def colourfulness(image):
    """Hasler & Suesstrunk's M3 ("Measuring colourfulness in natural images", 2003): 0 for gray.

    With rg = R - G and yb = (R + G) / 2 - B: the length of their standard deviations plus 0.3 times the
    length of their means; some 15 is slightly, 59 quite, 109 extremely colourful.

    image: uint8 [h, w, 3], RGB. The sums are of whole numbers, so that what is computed of them is
    exact for every size. Holds 16 bytes a pixel. Raises ValueError.
    """
    pixels = _pixels(image)
    r, g, b = pixels.T.astype(np.int32)
    rg_mean, rg_var = _moments(r - g, 1)
    yb_mean, yb_var = _moments(r + g - 2 * b, 2)
    return float((rg_var + yb_var) ** 0.5 + 0.3 * (rg_mean ** 2 + yb_mean ** 2) ** 0.5)


def image_features(image, height=None, width=None):
    """NAMES of an image: float32 [4].

    image: uint8 [h, w, 3], RGB. height, width: px of the original, where `image` was scaled; None: of
    `image`. is_portrait: 1 where it is higher than wide. Raises ValueError.
    """
    values = brightness(image), colourfulness(image)
    height, width = (of_image if size is None else size
                     for size, of_image in zip((height, width), np.shape(image)))
    if not (height > 0 and width > 0):
        raise ValueError(f"an image of {height} x {width} px (height x width): both must be above 0")
    return np.array([*values, max(height, width), height > width], np.float32)


def _moments(values, scale):
    """Mean and variance of values / scale; values: int32 [n], at most 1,020."""
    n, total = len(values), int(values.sum(dtype=np.int64))
    squares = int(np.square(values).sum(dtype=np.int64))
    return total / n / scale, (n * squares - total ** 2) / (n * scale) ** 2  # Python's ints: no limit


def _pixels(image):
    """[h * w, 3]"""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image must be uint8 [height, width, 3] in RGB, 0..255, got {image.dtype} "
                         f"{list(image.shape)}: decode it in colour, before it is normalised")
    return image.reshape(-1, 3)
