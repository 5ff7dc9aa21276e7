"""Page cleaning of the two-stage Kuzushiji system (system A), whole or only where crops are cut.

Non-local-means denoising is nearly all of the packing time, and it is local: a pixel depends on
those at most MARGIN away. A rectangle cut with that margin comes out identical to the whole page,
so a page is denoised only around its boxes.
"""
import cv2
import numpy as np

TEMPLATE = 7
SEARCH = 21
MARGIN = SEARCH // 2 + TEMPLATE // 2  # pixels
STRENGTH = 20.0
WHOLE_FROM = 0.6  # share of the page; a pixel of a small piece costs up to 1.6 times as much
SIGMA = 10.0


def local_contrast(image):
    """4*image - 4*blur + 128, saturated: evens out paper and light ("Ben's" preprocessing).

    image: uint8 [h, w, c], any colour order. Returns the same shape and dtype.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), SIGMA)
    return cv2.addWeighted(image, 4, blurred, -4, 128).reshape(image.shape)


def denoise(image):
    """Non-local means in Lab. image: uint8 [h, w, 3], BGR. Returns the same shape and dtype."""
    return cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(image), None, STRENGTH, STRENGTH,
                                           TEMPLATE, SEARCH)


def denoised_crops(image, rectangles):
    """Yields, per rectangle, the crop of `denoise(image)`, bit for bit, denoising only what is cut.

    image: uint8 [h, w, 3], BGR. rectangles: int [n, 4], x0 y0 x1 y1 in pixels, inside the image.
    A page so full that the rectangles with their margins come to WHOLE_FROM of its area is denoised
    whole, which is faster then.
    """
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height])
    rectangles = np.asarray(rectangles, np.int64).reshape(-1, 4)
    outer = np.clip(rectangles + [-MARGIN, -MARGIN, MARGIN, MARGIN], 0, limits)
    area = ((outer[:, 2] - outer[:, 0]) * (outer[:, 3] - outer[:, 1])).sum()
    whole = denoise(image) if area >= WHOLE_FROM * height * width else None
    for (x0, y0, x1, y1), (ox, oy, px, py) in zip(rectangles, outer):
        if whole is not None:
            yield whole[y0:y1, x0:x1]
        else:
            yield denoise(image[oy:py, ox:px])[y0 - oy:y1 - oy, x0 - ox:x1 - ox]
