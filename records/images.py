"""Reading image files that are not trusted: the size is checked before anything is decoded."""
import io
import struct

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Image.MAX_IMAGE_PIXELS = None  # the limit is ours: --max_megapixels

MAX_MEGAPIXELS = 200
LINES = ("line", "column")  # fits of lines of text: as they lie, and turned from downwards to the right
EXIF_ORIENTATION = 0x0112
JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of a baseline, extended or progressive picture's header


class BadImage(ValueError):
    """A file that is not a readable image, or is larger than allowed."""


def open_image(source, max_megapixels=MAX_MEGAPIXELS):
    """(PIL image, width, height), the size as decoded (EXIF orientation applied), nothing decoded.

    source: the file's bytes, or a path. Raises BadImage.
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        width, height = image.size
        turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError,
            SyntaxError, TypeError, struct.error) as error:  # the last two: from odd EXIF
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadImage(f"not a readable image ({reason[:120]})") from error
    if width * height > max_megapixels * 1e6:
        raise BadImage(f"{width} x {height} pixels, more than the {max_megapixels} megapixels "
                       "allowed (raise --max_megapixels if that is right)")
    return image, *((height, width) if turned else (width, height))


def decode_image(data, max_megapixels=MAX_MEGAPIXELS):
    """The image as uint8 [h, w, 3], BGR, EXIF orientation applied. data: bytes.

    Decoded by Pillow because OpenCV fills up a truncated JPEG without a word. Raises BadImage.
    """
    image, _, _ = open_image(data, max_megapixels)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # which Pillow would clip at 255
            gray = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise BadImage("its pixels are of 32 bits, whose range is not known: save it with 8")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except BadImage:
        raise
    except (OSError, ValueError, SyntaxError, TypeError, struct.error) as error:
        raise BadImage(f"the image cannot be decoded ({error})") from error


def plain_jpeg_size(data):
    """(width, height) of a JPEG that any decoder shows alike, by its header alone; None of all else.

    That is: whole to its end mark, 8 bits, gray or three colours, without EXIF, which may turn it.
    """
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    at, last = 2, len(data) - 10
    while at < last and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            bits, height, width, parts = struct.unpack_from(">BHHB", data, at + 4)
            return (width, height) if bits == 8 and parts in (1, 3) and width and height else None
        if marker == 0xE1 and data[at + 4:at + 8] == b"Exif":
            return None
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def resize(image, size, fit="stretch"):
    """A square uint8 [size, size, c]; shrinks by area, enlarges by bicubic interpolation.

    fit: "stretch" ignores the aspect ratio (system A), choosing between the two by the height alone;
    "stretch_area" too, but choosing for each side, so that nothing aliases in an image of 7531 x 300 px
    made 320 x 320; "pad" keeps it and fills with the mean of the image's border, "crop" keeps it and
    cuts the middle.
    """
    height, width, channels = image.shape
    if fit == "stretch_area" and (height > size) != (width > size):  # first the side that shrinks
        image = cv2.resize(image, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image, height, width = image[top:top + side, left:left + side], side, side
    if fit == "pad" and height != width:
        scale = size / max(height, width)
        height, width = (max(1, round(height * scale)), max(1, round(width * scale)))
    else:
        height = width = size
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    resized = resized.reshape(height, width, channels)
    if fit == "pad" and height != width:
        border = np.concatenate([resized[0], resized[-1], resized[:, 0], resized[:, -1]])
        canvas = np.empty((size, size, channels), np.uint8)
        canvas[:] = border.mean(0).round()
        top, left = (size - height) // 2, (size - width) // 2
        canvas[top:top + height, left:left + width] = resized
        return canvas
    return resized


def fit_line(image, height, width, turned=False):
    """A line of text, uint8 [height, width, c], of an image uint8 [h, w, c] of it.

    Its aspect ratio is kept: as high as it may be without being wider than `width`, in the middle, so that
    no augmentation moves an end out of the record that has room; around it is the mean colour of its border.
    turned: by a quarter, counter-clockwise, first, so that what was read downwards is read from left to
    right. Shrinks by area, enlarges by bicubic interpolation.
    """
    if turned:
        image = np.rot90(image)
    h, w, channels = image.shape
    scale = min(height / h, width / w)
    h, w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    image = cv2.resize(np.ascontiguousarray(image), (w, h),
                       interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).reshape(h, w, channels)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    line = np.empty((height, width, channels), np.uint8)
    line[:] = border.mean(0).round()
    top, left = (height - h) // 2, (width - w) // 2
    line[top:top + h, left:left + w] = image
    return line


def encode_image(image, encoding, jpeg_quality=95):
    """Bytes of a uint8 [h, w, c] image (c = 1, or 3 in BGR) as "png" or "jpeg"."""
    if encoding == "png":
        ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    else:
        ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not ok:
        raise ValueError(f"OpenCV could not encode a {image.shape} image as {encoding}")
    return data.tobytes()
