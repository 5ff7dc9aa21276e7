"""Training crops of pages against OpenCV doing the same, and against decoding the pages alone.

  python -m benchmarks.page_pipeline [--page 1536] [--crop 512] [--batch_size 8] [--repeats 5]

The pages are drawn here, as JPEG in memory. The peer decodes (or takes decoded) pages and makes the
same changes and boxes crop by crop with OpenCV, which has a thread per core; its noise is NumPy's. The
limit is tf.io.decode_jpeg of whole pages, without any augmentation. All run in turn, with pages encoded
and decoded in memory. Then each stage alone, one after the other, for its share of the time; last, with
--backbone, the training step of system D's network on such crops, on this machine's devices.
"""
import argparse
import concurrent.futures
import functools
import math
import os
import time

import keras2  # noqa: F401  before TensorFlow
import cv2
import numpy as np
import tensorflow as tf

from models.centernet import build_centernet
from models.centernet_targets import centernet_targets
from pipeline.augmentation import Augmentation, InputFormat, draw_pixel_plan, finish
from pipeline.cache import ImageSource
from pipeline.colour import Colour, change_colour, change_gamma
from pipeline.decode import per_record
from pipeline.filters import Filters, filter_images
from pipeline.geometry import Geometry, warp
from pipeline.page_batches import PageBoxes, page_training_batches
from pipeline.page_geometry import draw_page_maps, place_boxes, select_boxes
from pipeline.windows import cut_windows, page_data, place_windows, window_side
from training.centernet_step import CenterNetLoss, TrainedCenterNet
from training.optimizers import make_optimizer

WARM_UP = 3  # batches before the clock starts
MAX_BOXES = 256
# As recipes/kuzushiji/centernet_resnet101d.args.
GEOMETRY = Geometry(rotate=10, scale=0.2, affine_p=0.9)
COLOUR = Colour(p=0.5, brightness=0.2, contrast=0.2, gamma=0.25, hue=0.06, saturation=0.12,
                rgb_shift=0.08, gray=0.1)
FILTERS = Filters(p=0.5, clahe=0.2, noise=0.03, blur=1.5)
AUGMENTATION = Augmentation(geometry=GEOMETRY, colour=COLOUR, filters=FILTERS)
MEAN, STD = 0.5, 0.25


def draw_pages(count, side, characters):
    """JPEG bytes of pages of written columns, and the PageBoxes of the characters."""
    random = np.random.default_rng(0)
    pages, boxes = [], []
    columns = int(np.ceil(np.sqrt(characters)))
    step = side // (columns + 1)
    for _ in range(count):
        paper = cv2.resize(random.normal(200, 15, (side // 16, side // 16, 3)), (side, side))
        page = (paper + random.normal(0, 3, paper.shape)).clip(0, 255).astype(np.uint8)
        for k in range(characters):
            corner = np.array([k // columns, k % columns]) * step + step // 2
            strokes = (corner + random.uniform(0, 0.8 * step, (6, 2))).astype(np.int32)
            cv2.polylines(page, [strokes], False, (30, 30, 40), max(1, step // 16), cv2.LINE_AA)
            boxes.append([*strokes.min(0), *strokes.max(0)])
        pages.append(cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    classes = random.integers(0, 4212, len(boxes)).astype(np.int32)
    return pages, PageBoxes(np.float32(boxes) / side, classes, np.arange(count + 1) * characters)


def sources(pages, side):
    """(encoded, decoded) ImageSource of the same pages, as pipeline.cache makes them."""
    data = tf.constant(pages)
    decode = lambda page: tf.ensure_shape(tf.io.decode_jpeg(page, channels=3), [side, side, 3])
    images = tf.map_fn(decode, data, fn_output_signature=tf.uint8)
    encoded = lambda positions: positions.map(lambda batch: tf.gather(data, batch))
    return (ImageSource("encoded", lambda positions: per_record(encoded(positions), decode, 3 * side**2),
                        sum(map(len, pages)), fetch_encoded=encoded),
            ImageSource("decoded", lambda positions: positions.map(lambda batch: tf.gather(
                images, batch)), int(np.prod(images.shape)), images=images))


class OpenCvPeer:
    """Batches as page_training_batches makes them, by OpenCV on a thread per core.

    pages: list of JPEG bytes, or of uint8 [side, side, 3]. Boxes are transformed and cut as arrays;
    heatmaps are left to whoever wants them.
    """

    def __init__(self, pages, boxes, side, crop, batch_size):
        cv2.setNumThreads(1)
        self.pages, self.boxes, self.side, self.crop = pages, boxes, side, crop
        self.batch_size = batch_size
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.random = np.random.default_rng(0)

    def __iter__(self):
        """Yields (images float32 [batch, crop, crop, 3], [boxes, class ids] of each); the next
        batches are made meanwhile."""
        waiting = []
        while True:
            while len(waiting) < 3:
                images = np.empty((self.batch_size, self.crop, self.crop, 3), np.float32)
                waiting.append((images, [self.pool.submit(self.make, *work) for work in zip(
                    self.random.integers(0, len(self.pages), self.batch_size),
                    self.random.spawn(self.batch_size), images)]))
            images, crops = waiting.pop(0)
            yield images, [crop.result() for crop in crops]

    def make(self, number, random, out):
        """One crop into `out`; returns its (boxes, class ids)."""
        page = self.pages[number]
        if isinstance(page, bytes):
            page = cv2.imdecode(np.frombuffer(page, np.uint8), cv2.IMREAD_COLOR_RGB)
        draw = lambda most: random.uniform(-most, most)
        angle = scale = 0
        if random.random() < GEOMETRY.affine_p:
            angle, scale = draw(GEOMETRY.rotate), draw(GEOMETRY.scale)
        matrix = cv2.getRotationMatrix2D((self.side / 2, self.side / 2), angle, 1 + scale)
        matrix[:, 2] -= random.integers(0, self.side - self.crop + 1, 2)
        image = cv2.warpAffine(page, matrix, (self.crop, self.crop), borderMode=cv2.BORDER_REPLICATE)
        image = peer_colour(peer_filters(image, random), random)
        np.multiply(image, np.float32(1 / (255 * STD)), out=out)
        out -= np.float32(MEAN / STD)
        return self.place_boxes(number, matrix)

    def place_boxes(self, number, matrix):
        of_page = slice(*self.boxes.row_splits[number:number + 2])
        boxes = self.boxes.boxes[of_page] * self.side
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
        reach = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
        kept = ((centre >= 0) & (centre < self.crop)).all(1)
        placed = np.concatenate([centre - reach, centre + reach], 1)[kept].clip(0, self.crop)
        return placed, self.boxes.class_ids[of_page][kept]


def peer_filters(image, random):
    """CLAHE, noise, blur. image: uint8 [h, w, 3]."""
    if random.random() < FILTERS.clahe:
        ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        ycc[..., 0] = cv2.createCLAHE(random.uniform(*FILTERS.clahe_clip), (8, 8)).apply(ycc[..., 0])
        image = cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)
    if random.random() < FILTERS.p:
        noise = random.standard_normal(image.shape, np.float32)
        noise *= np.float32(255 * random.uniform(0, FILTERS.noise))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if random.random() < FILTERS.p:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(1e-3, FILTERS.blur))
    return image


def peer_colour(image, random):
    """Brightness, contrast and gamma in one table; hue and saturation by HSV; RGB shift; gray."""
    amount = lambda most: random.uniform(-most, most) if random.random() < COLOUR.p else 0
    levels = np.arange(256) / 255 * (1 + amount(COLOUR.brightness))
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] / 255
    levels = (levels - mean) * (1 + amount(COLOUR.contrast)) + mean
    levels = levels.clip(0, 1) ** math.exp(math.log1p(COLOUR.gamma) * amount(1))
    image = cv2.LUT(image, (255 * levels).round().astype(np.uint8))
    hue, saturation = amount(COLOUR.hue), amount(COLOUR.saturation)
    if hue or saturation:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        table = np.stack([(np.arange(256) + round(256 * hue)) % 256,
                          (np.arange(256) * (1 + saturation)).clip(0, 255).round(),
                          np.arange(256)], -1)
        image = cv2.cvtColor(cv2.LUT(hsv, table[None].astype(np.uint8)), cv2.COLOR_HSV2RGB_FULL)
    if random.random() < COLOUR.p:
        image = cv2.add(image, (*random.uniform(-255, 255, 3) * COLOUR.rgb_shift, 0))
    if random.random() < COLOUR.gray:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image


def crops_per_second(dataset, batches, batch_size):
    iterator = iter(dataset)
    for _ in range(WARM_UP):
        next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * batch_size / (time.perf_counter() - start)


def stage_seconds(encoded, decoded, side, boxes, targets, batch_size, crop, repeats):
    """{stage: seconds per batch}, each by itself with all cores, the median of `repeats`."""
    pages = decoded.images.shape[0]
    positions = tf.range(batch_size, dtype=tf.int64) % pages
    g, form = GEOMETRY, InputFormat(crop, 3, (MEAN,), (STD,), "float32")
    window = window_side(side, crop, g.rotate, g.scale)

    @tf.function
    def draw(seed):
        maps = draw_page_maps(seed, batch_size, g.rotate, g.scale, g.affine_p, side, crop)
        plan = draw_pixel_plan(seed, batch_size, AUGMENTATION, form)
        return maps, *place_windows(maps, side, crop, window), plan

    @tf.function
    def make_targets(maps):
        found, class_ids, count = boxes.fetch(positions)
        found, class_ids, kept, _ = select_boxes(place_boxes(maps, found), class_ids, count,
                                                 MAX_BOXES)
        return targets(found * crop, class_ids, kept)

    def windows_of(source):
        corners = tf.data.Dataset.counter().map(
            lambda number: draw(tf.stack([tf.constant(1, tf.int64), number]))[1])
        pages = page_data(source, tf.data.Dataset.from_tensors(positions).repeat())
        return cut_windows(source, tf.data.Dataset.zip(pages, corners), window, 3)
    filters = tf.function(lambda images, plan: filter_images(images, plan, FILTERS))
    gamma, colour = (tf.function(change, jit_compile=True) for change in (change_gamma, change_colour))
    normalise = tf.function(lambda images: finish(images, {}, form))
    seconds = {f"windows of {source.kind} pages": [batch_size / crops_per_second(
        windows_of(source), repeats, batch_size)] for source in (encoded, decoded)}

    def timed(name, function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result
    images = next(iter(windows_of(decoded)))
    for k in range(WARM_UP + repeats):
        maps, _, seen, plan = timed("draw", draw, tf.constant([1, k], tf.int64))
        crops = timed("warp", warp, images, seen, crop)
        crops = timed("filters", filters, crops, plan["filters"])
        crops = timed("gamma", gamma, crops, plan["colour"].pop("gamma"))
        crops = timed("colour", colour, crops, plan["colour"])
        timed("normalise", normalise, crops)
        timed("targets", make_targets, maps)
    return {name: np.median(values[WARM_UP:] or values) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, what in (
            ("pages", 24, "how many are drawn"), ("page", 1536, "side of a page, px"),
            ("characters", 400, "of a page"), ("crop", 512, "side of a crop, px"),
            ("batch_size", 8, "crops"), ("batches", 20, "timed in each run"),
            ("repeats", 5, "runs of each")):
        parser.add_argument(f"--{name}", type=int, default=default,
                            help=f"{what} (default: {default})")
    parser.add_argument("--backbone", help="time the training step with it too (system D: resnet101d)")
    o = parser.parse_args()
    pages, boxes = draw_pages(o.pages, o.page, o.characters)
    print(f"{o.pages} pages of {o.page} px, {np.mean(list(map(len, pages))) / 1e6:.2f} MB as JPEG; "
          f"crops of {o.crop} px, batches of {o.batch_size}, {os.cpu_count()} cores")
    encoded, decoded = sources(pages, o.page)
    targets = functools.partial(centernet_targets, side=o.crop, kernel="3x3")
    positions = tf.data.Dataset.range(o.pages).repeat().batch(o.batch_size, drop_remainder=True)
    ways = {"decode alone": encoded.fetch(positions).prefetch(tf.data.AUTOTUNE)}
    for source, held in ((encoded, pages), (decoded, list(decoded.images.numpy()))):
        ways[f"pipeline, {source.kind}"] = page_training_batches(
            source, range(o.pages), boxes, AUGMENTATION,
            InputFormat(o.crop, 3, (MEAN,), (STD,), "float32"), targets, batch_size=o.batch_size,
            seed=1, n_epochs=10**6, crops_per_page=o.batch_size, max_boxes=MAX_BOXES)
        ways[f"OpenCV, {source.kind}"] = OpenCvPeer(held, boxes, o.page, o.crop, o.batch_size)
    rates = {name: [] for name in ways}
    for _ in range(o.repeats):
        for name, dataset in ways.items():
            rates[name].append(crops_per_second(dataset, o.batches, o.batch_size))
    for name, rate in rates.items():
        print(f"{name}: {np.median(rate):.1f} crops/s ({min(rate):.1f} to {max(rate):.1f})")
    cells = []
    for name, of in (("pipeline, encoded", "OpenCV, encoded"), ("pipeline, decoded", "OpenCV, decoded"),
                     ("pipeline, encoded", "decode alone")):
        ratio = np.array(rates[name]) / rates[of]
        cells.append(f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) of {of}")
        print(f"{name}: {cells[-1]}, {len(ratio)} runs")
    print(f"| `python -m benchmarks.page_pipeline` | training crops of {o.crop} px from pages of "
          f"{o.page} px with system D's changes, against OpenCV doing the same on all {os.cpu_count()} "
          f"cores | "
          f"encoded cache {np.median(rates['pipeline, encoded']):.0f} crops/s, {cells[0]}, {cells[2]}; "
          f"decoded cache {np.median(rates['pipeline, decoded']):.0f} crops/s, {cells[1]} |")
    seconds = stage_seconds(encoded, decoded, o.page, boxes, targets, o.batch_size, o.crop,
                            4 * o.repeats)
    print(f"stages alone, per batch of {o.batch_size}: " + ", ".join(
        f"{name} {value * 1e3:.1f} ms" for name, value in seconds.items()))
    if o.backbone:
        step = step_rate(ways["pipeline, decoded"], o.backbone)
        print(f"training step, {o.backbone}: {step:.2f} crops/s; the pipeline gives "
              f"{np.median(rates['pipeline, encoded']) / step:.1f} (encoded) to "
              f"{np.median(rates['pipeline, decoded']) / step:.1f} (decoded) times as many")


def step_rate(batches, backbone, steps=2):
    """Crops per second of the training step alone, on the pipeline's own batch."""
    model = build_centernet(backbone=backbone, n_classes=4212, cls=TrainedCenterNet)
    model.set_loss(CenterNetLoss())
    model.set_step(make_optimizer("adamw", 5e-5), xla=bool(tf.config.list_physical_devices("GPU")))
    images, targets = next(iter(batches))
    iterator = iter(tf.data.Dataset.from_tensors((images, targets)).repeat())
    step = model.make_train_function()
    step(iterator)
    start = time.perf_counter()
    for _ in range(steps):
        step(iterator)["loss"].numpy()
    return steps * len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
