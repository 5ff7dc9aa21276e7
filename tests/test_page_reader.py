"""PageReader against NumPy, and with an ideal network whose maps are the targets themselves."""
import numpy as np
import pytest
import tensorflow as tf

from inference.page_reader import PageReader
from models.centernet_targets import centernet_targets
from records.annotations import read_kuzushiji
from records.images import decode_image
from records.letterbox import Letterbox


class Ideal:
    """Answers with the targets of known boxes, however the page is scaled.

    The embedding of a cell is one-hot by the class of the centre in it, and zero elsewhere.
    """
    stride, multiple, n_heatmaps = 4, 32, 1

    def __init__(self, boxes, classes, n_classes, side):
        self.boxes, self.classes, self.n_classes, self.side = boxes, classes, n_classes, side
        self.seen = []

    def __call__(self, images, training):
        assert not training and images.shape[1] % self.multiple == 0
        self.seen.append(images.shape[1])
        scale = images.shape[1] / self.side
        n = len(self.boxes)
        targets = centernet_targets(
            tf.constant(self.boxes[None] * scale, tf.float32), tf.constant(self.classes[None]),
            tf.constant([n]), side=images.shape[1])
        grid = images.shape[1] // self.stride
        maps = {name: np.zeros((1, grid, grid, 2), np.float32) for name in ("offset", "size")}
        embedding = np.zeros((1, grid, grid, self.n_classes), np.float32)
        for number, (row, column) in enumerate(targets["cells"][0].numpy()):
            for name in maps:
                maps[name][0, row, column] = targets[name][0, number]
            # The whole neighbourhood knows the class, as system D trains it.
            embedding[0, max(row - 1, 0):row + 2, max(column - 1, 0):column + 2] = \
                20 * np.eye(self.n_classes)[self.classes[number]]
        heat = np.clip(targets["heatmap"].numpy(), 1e-6, 1 - 1e-6)
        return [{"features": tf.constant(embedding), "heatmap": tf.constant(np.log(heat / (1 - heat))),
                 **{name: tf.constant(value) for name, value in maps.items()}}]

    def class_embedding(self, features, cells, reach=0, training=False):
        return tf.gather_nd(features, cells, batch_dims=1)[:, :, None]

    def class_logits(self, embedding):
        return embedding


def spread_boxes(random, n, side):
    """Boxes whose centres lie in different cells, well apart."""
    places = random.permutation((side // 40) ** 2)[:n]
    centres = np.stack([places % (side // 40), places // (side // 40)], 1) * 40 + \
        random.uniform(12, 28, (n, 2))
    size = random.uniform(8, 36, (n, 2))
    return np.clip(np.concatenate([centres - size / 2, centres + size / 2], 1), 0, side)


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.25)])
def test_an_ideal_network_gives_every_character_back(scales):
    random = np.random.default_rng(0)
    side, n = 384, 40
    boxes, classes = spread_boxes(random, n, side), random.integers(0, 6, n).astype(np.int32)
    model = Ideal(boxes, classes, 6, side)
    found = PageReader(model, scales, threshold=0.4, max_peaks=50)(tf.zeros([1, side, side, 3]))
    assert model.seen == [round(side * s) for s in scales]
    assert found["count"][0] == n and (found["score"][0].numpy() > 0).sum() == n
    centres = found["centres"][0].numpy()[:n]
    true = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = np.linalg.norm(centres[:, None] - true[None], axis=2)
    which = near.argmin(1)
    assert sorted(which) == list(range(n))
    assert near.min(1).max() < 1e-3
    np.testing.assert_allclose(found["boxes"][0].numpy()[:n], boxes[which], atol=1e-3)
    assert (found["class_id"][0].numpy()[:n] == classes[which]).all()
    assert (found["class_id"][0].numpy()[n:] == -1).all()
    assert found["class_score"][0].numpy()[:n].min() > 0.5


def test_more_peaks_than_room_are_counted():
    random = np.random.default_rng(1)
    boxes = spread_boxes(random, 30, 384)
    model = Ideal(boxes, np.zeros(30, np.int32), 2, 384)
    found = PageReader(model, max_peaks=10)(tf.zeros([1, 384, 384, 1]))
    assert found["count"][0] == 30 and (found["score"][0].numpy() > 0).all()
    none = PageReader(Ideal(boxes[:0], np.zeros(0, np.int32), 2, 384), max_peaks=10)(
        tf.zeros([1, 384, 384, 1]))
    assert none["count"][0] == 0 and not none["score"].numpy().any()


class Rough:
    """Maps that are plain functions of the picture: means of its cells. Any size, two stacks."""
    stride, multiple, n_heatmaps, n_classes = 4, 8, 1, 5

    def __call__(self, images, training):
        cells = tf.nn.avg_pool2d(images, 4, 4, "VALID")  # [b, h/4, w/4, 3]
        maps = {"heatmap": 6 * cells[..., :1] - 3, "offset": tf.abs(cells[..., 1:]),
                "size": 9 * tf.abs(cells[..., :2]), "features": tf.concat([cells, cells[..., :2]], 3)}
        return [{name: value * 0 for name, value in maps.items()}, maps]

    def class_embedding(self, features, cells, reach=0, training=False):
        return tf.gather_nd(features, cells, batch_dims=1)[:, :, None]

    def class_logits(self, embedding):
        return 7 * embedding


class Heatmaps(Rough):
    """A heatmap for each of `n_heatmaps` classes, no class branch."""
    n_classes = 0

    def __init__(self, n_heatmaps):
        self.n_heatmaps = n_heatmaps

    def __call__(self, images, training):
        maps = super().__call__(images, training)[1]
        return [maps | {"heatmap": tf.repeat(maps["heatmap"], self.n_heatmaps, axis=3)}]


@pytest.mark.parametrize("n_heatmaps", [1, 2])
def test_the_heatmap_is_the_class_only_where_it_is_said(n_heatmaps):
    page = tf.constant(np.random.default_rng(3).uniform(0, 1, (1, 32, 32, 3)), tf.float32)
    for class_heatmaps in (False, True):
        found = PageReader(Heatmaps(n_heatmaps), threshold=0.5, max_peaks=30,
                           class_heatmaps=class_heatmaps)(page)
        n = int(found["count"][0])
        assert 0 < n < 30
        classes = found["class_id"][0].numpy()
        assert set(classes[:n]) == (set(range(n_heatmaps)) if class_heatmaps else {-1})
        assert set(classes[n:]) == {-1}
        assert (found["class_score"][0].numpy()[:n] == class_heatmaps).all()


def bilinear(plane, at):
    """plane [h, w, c] at a float (row, column), clamped to the border."""
    at = np.clip(at, 0, np.array(plane.shape[:2]) - 1)
    low = np.minimum(np.floor(at), np.maximum(np.array(plane.shape[:2]) - 2, 0)).astype(int)
    high = np.minimum(low + 1, np.array(plane.shape[:2]) - 1)
    (r, c), (u, v) = low, at - low
    top = plane[r, c] * (1 - v) + plane[r, high[1]] * v
    bottom = plane[high[0], c] * (1 - v) + plane[high[0], high[1]] * v
    return top * (1 - u) + bottom * u


@pytest.mark.parametrize("scales, compiled", [((0.75, 1.0, 1.3), False), ((0.75, 1.0, 1.3), "graph"),
                                              ((0.75, 1.0, 1.3), "xla"), ((0.75, 1.3), False)])
def test_equals_numpy_at_any_page_size(scales, compiled):
    """Padding to the network's multiple, scales that do not divide, the common grid, one class each."""
    random = np.random.default_rng(2)
    height, width = 52, 83
    small = random.uniform(-0.2, 1, (1, 13, 21, 3)).astype(np.float32)
    page = tf.image.resize(small, [height, width])
    model = Rough()
    reader = PageReader(model, scales, threshold=0.5, max_peaks=40)
    found = (tf.function(reader, jit_compile=compiled == "xla") if compiled else reader)(page)
    found = {name: value.numpy() for name, value in found.items()}

    views = []
    for scale in scales:
        h, w = round(height * scale), round(width * scale)
        image = tf.image.resize(page, [h, w]).numpy()[0] if scale != 1 else page.numpy()[0]
        padded = np.zeros((-(-h // 8) * 8, -(-w // 8) * 8, 3), np.float32)
        padded[:h, :w] = image
        maps = {k: v.numpy()[0, :-(-h // 4), :-(-w // 4)]
                for k, v in model(padded[None], False)[1].items()}
        views.append((maps, np.array([h / height, w / width])))
    rows, columns = 13, 21
    heat = np.zeros((rows, columns))
    for maps, factor in views:
        for r in range(rows):
            for c in range(columns):
                at = (np.array([r, c]) + 0.5) * factor - 0.5
                probability = 1 / (1 + np.exp(-maps["heatmap"]))
                heat[r, c] += bilinear(probability, at)[0] / len(views)
    around = np.pad(heat, 1, constant_values=-1)
    peaks = [(-heat[r, c], r, c) for r in range(rows) for c in range(columns)
             if heat[r, c] > 0.5 and heat[r, c] == around[r:r + 3, c:c + 3].max()]
    peaks.sort()
    assert 5 < len(peaks) <= 40 and found["count"][0] == len(peaks)
    for number, (score, r, c) in enumerate(peaks):
        assert found["score"][0, number] == pytest.approx(-score, abs=1e-4)
        maps, factor = views[1]  # of the scale nearest to 1
        row, column = np.minimum(((np.array([r, c]) + 0.5) * factor).astype(int),
                                 np.array(maps["size"].shape[:2]) - 1)
        centre = (np.array([column, row]) + maps["offset"][row, column]) * 4 / factor[::-1]
        np.testing.assert_allclose(found["centres"][0, number], centre, atol=1e-3)
        half = np.maximum(maps["size"][row, column], 0) * 2 / factor[::-1]
        np.testing.assert_allclose(found["boxes"][0, number],
                                   np.concatenate([centre - half, centre + half]), atol=1e-3)
        embedding = sum(bilinear(m["features"], (np.array([r, c]) + 0.5) * f - 0.5)
                        for m, f in views) / len(views)
        odds = np.exp(7 * embedding - (7 * embedding).max())
        assert found["class_id"][0, number] == odds.argmax()
        assert found["class_score"][0, number] == pytest.approx(odds.max() / odds.sum(), abs=1e-4)


def test_the_real_page_passes_through_every_step(test_data):
    """Letterbox, targets, ideal network, decoding, back to pixels: 67 centres inside their boxes."""
    folder = test_data / "kuzushiji_page"
    images, problems = read_kuzushiji(folder / "train.csv", folder / "train_images")
    assert not problems
    page = images[0]
    picture = decode_image(page.read())
    letterbox = Letterbox(picture.shape[1], picture.shape[0], 1536, 1.5)
    record = letterbox.draw(picture)
    assert record.shape == (1536, 1536, 3)
    corners = np.concatenate([page.boxes[:, :2], page.boxes[:, :2] + page.boxes[:, 2:]], 1)
    boxes = letterbox.to_record(corners.reshape(-1, 2, 2).astype(float)).reshape(-1, 4)
    names = sorted(set(page.labels))
    classes = np.array([names.index(label) for label in page.labels], np.int32)
    model = Ideal(boxes.astype(np.float32), classes, len(names), 1536)
    found = PageReader(model, (0.75, 1.0, 1.25), 0.4, 1300)(
        tf.constant(record[None], tf.float32) / 255)
    n = int(found["count"][0])
    assert n == 67
    centres = letterbox.to_page(found["centres"][0].numpy()[:n].astype(float))
    true = (corners[:, :2] + corners[:, 2:]) / 2
    nearest = np.linalg.norm(centres[:, None] - true[None], axis=2)
    which = nearest.argmin(1)
    assert sorted(which) == list(range(67)) and nearest.min(1).max() < 1  # px of the page
    assert ((centres > corners[which, :2]) & (centres < corners[which, 2:])).all()
    assert (found["class_id"][0].numpy()[:n] == classes[which]).all()
