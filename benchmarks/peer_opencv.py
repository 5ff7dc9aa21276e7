"""OpenCV without a framework, as fast as it goes in Python: a thread makes a whole batch at a time."""
import collections
import concurrent.futures
import itertools
import math

import cv2
import numpy as np

from benchmarks.peers import MEAN, STD, draw_crop, draw_erased

LUMA = np.array([0.299, 0.587, 0.114])
# Of the colours' chroma: YIQ, where a turn of the hue is a rotation.
TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
# ImageNet's principal components of colour and their deviations (Krizhevsky et al., 2012).
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140],
                       [-0.5836, -0.6948, 0.4203]])
DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])


def opencv(photos, task, workers):
    """The whole task; the order of the colour changes is fixed and the hue turned in YIQ, so that
    they are one matrix an image. One warp an image. The next batches are made while one is used."""
    cv2.setNumThreads(1)  # the threads here are the parallelism
    targets = np.eye(photos.n_classes, dtype=np.float32)[photos.labels]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        ahead = collections.deque()
        for chosen, seed in zip(_batches(len(photos.jpegs), task.batch_size), itertools.count()):
            ahead.append(pool.submit(_batch, photos.jpegs, targets, chosen, task, seed))
            if len(ahead) > workers + 1:
                yield ahead.popleft().result()


def _batches(count, batch_size):
    """Endless batches of shuffled numbers 0..count-1; no number twice in an epoch."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(count)
        yield from order[:count // batch_size * batch_size].reshape(-1, batch_size)


def _batch(jpegs, targets, chosen, task, seed):
    random = np.random.default_rng(seed)
    n, size = len(chosen), task.size
    maps = _maps(random, n, task)
    flags = cv2.IMREAD_GRAYSCALE if task.channels == 1 else cv2.IMREAD_COLOR_RGB
    factors = 1 + random.uniform(-task.jitter, task.jitter, (n, 3))
    colours = _colours(random, factors, task) if task.channels == 3 else None
    images = np.empty((n, size, size, task.channels), np.uint8)
    for i, number in enumerate(chosen):
        image = cv2.imdecode(np.frombuffer(jpegs[number], np.uint8), flags)
        image = cv2.warpAffine(image, maps[i], (size, size), borderMode=cv2.BORDER_REPLICATE,
                               flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        mean = (1 - factors[i, 1]) * (cv2.mean(image)[:3] @ LUMA if task.channels == 3
                                      else cv2.mean(image)[0])
        if task.channels == 3:
            matrix, offset = colours[0][i], colours[1][i]
            offset = matrix.sum(1) * mean / factors[i, 1] + offset
            cv2.transform(image, np.column_stack([matrix, offset]), dst=images[i])
        else:
            table = np.arange(256) * (factors[i, 0] * factors[i, 1]) + mean * factors[i, 0]
            cv2.LUT(image, table.clip(0, 255).astype(np.uint8), dst=images[i])
    return _mixed(random, images, targets[chosen], task)


def _maps(random, n, task):
    """Rotation and crop as one map [n, 2, 3] from pixels of the output to pixels of the record."""
    angle = np.radians(random.uniform(-task.rotate, task.rotate, n))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn.transpose(2, 0, 1)
    boxes = draw_crop(random, n) * task.record
    linear = turn * (boxes[:, None, 2:] / task.size)
    middle = task.record / 2
    corner = boxes[:, :2] + 0.5 * boxes[:, 2:] / task.size - middle  # of the first pixel's centre
    offset = (turn * corner[:, None]).sum(2) + middle - 0.5
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _colours(random, factors, task):
    """(matrices [n, 3, 3], offsets [n, 3]) of brightness, contrast, saturation, hue, gray and the
    lighting noise; contrast's own offset, which needs the image's mean, is left out."""
    n = len(factors)
    turn = random.uniform(-task.hue, task.hue, n) * 2 * math.pi
    saturation = factors[:, 2] * (random.uniform(size=n) >= task.gray)
    chroma = np.zeros((n, 3, 3))
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = saturation * np.cos(turn)
    chroma[:, 2, 1] = saturation * np.sin(turn)
    chroma[:, 1, 2] = -chroma[:, 2, 1]
    matrices = np.linalg.inv(TO_YIQ) @ chroma @ TO_YIQ * factors[:, :2].prod(1)[:, None, None]
    noise = random.normal(0, task.pca, (n, 3)) * DEVIATIONS @ COMPONENTS.T
    return matrices, 255 * noise


def _mixed(random, images, targets, task):
    """ICAP or mixup, RandomErasing, normalised; uint8 images [n, s, s, c] -> (float32, targets)."""
    n, size = len(images), task.size
    if task.icap and random.uniform() < 0.5:  # one split per batch
        x, y = np.round(random.beta(task.icap, task.icap, 2) * size).astype(int)
        mixed, share = np.empty_like(images), 0
        for rows, columns in itertools.product((slice(0, y), slice(y, size)),
                                               (slice(0, x), slice(x, size))):
            partner = random.permutation(n)
            mixed[:, rows, columns] = images[partner, rows, columns]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            share = share + targets[partner] * np.float32(area / size**2)
        images, targets = mixed, share
    floats = images.astype(np.float32)
    if task.mixup:
        own = random.beta(task.mixup, task.mixup, n).astype(np.float32)
        partner = random.permutation(n)
        wide = own[:, None, None, None]
        floats *= wide
        floats += (1 - wide) * images[partner]
        targets = own[:, None] * targets + (1 - own[:, None]) * targets[partner]
    for i, (x, y, w, h) in enumerate(np.round(draw_erased(random, n) * size).astype(int)):
        floats[i, y:y + h, x:x + w] = random.random((h, w, task.channels), np.float32) * 255
    floats -= np.float32(255 * MEAN)
    floats *= np.float32(1 / (255 * STD))
    return floats, targets
