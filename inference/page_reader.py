"""Finding and reading the characters of whole pages with a CenterNet, at several scales (system D)."""
import numpy as np
import tensorflow as tf

from models.centernet_decode import decode_boxes, find_peaks, gather_cells, resize_maps


class PageReader:
    """Applies a CenterNet to batches of pages; all shapes are static, so that XLA can compile it.

    scales: of the page. Heatmap probabilities and class embeddings of all scales are averaged on the
    page's own grid (a cell per stride x stride px); size and offset are those of the scale nearest
    to 1. A class is computed only at the peaks. threshold: least heatmap probability of a peak.
    max_peaks: room for the peaks of a page; `count` tells how many there were. class_heatmaps: the
    model has a heatmap for each class instead of one for all.
    """

    def __init__(self, model, scales=(1.0,), threshold=0.4, max_peaks=1300, class_heatmaps=False):
        self.model, self.scales = model, tuple(scales)
        self.threshold, self.max_peaks = threshold, max_peaks
        self.class_heatmaps = class_heatmaps

    def __call__(self, images):
        """images: [b, h, w, c], normalised. Returns a dict, p = max_peaks, best first, 0 in padding:

        count int32 [b], may exceed p; score float32 [b, p]; centres [b, p, 2] x y and boxes
        [b, p, 4] x0 y0 x1 y1, px of `images`; class_id int32 [b, p] and class_score float32 [b, p]
        (-1 and 0 without classes).
        """
        _, height, width, _ = images.shape
        stride = self.model.stride
        return self.read(self.views(images), -(-height // stride), -(-width // stride))

    def views(self, images):
        """The network's maps of the page at each scale, as `read` takes them."""
        return [self._view(images, scale) for scale in self.scales]

    def read(self, views, rows, columns, classes=True):
        """What __call__ returns, from the maps. rows, columns: of the page's own grid. classes:
        False leaves them out."""
        heat = tf.add_n([resize_maps(tf.sigmoid(maps["heatmap"]), rows, columns, *factors)
                         for maps, factors in views]) / len(views)  # [b, rows, columns, k]
        peaks = find_peaks(heat, self.max_peaks, self.threshold)
        centres, boxes = self._boxes(views, peaks["cells"])
        found = {"count": peaks["count"], "score": peaks["score"], "centres": centres, "boxes": boxes}
        real = peaks["score"] > 0
        if not classes:
            return found
        if self.model.n_classes:
            probability = tf.nn.softmax(self._logits(views, peaks["cells"]))  # [b, p, classes]
            found["class_id"] = tf.argmax(probability, axis=-1, output_type=tf.int32)
            found["class_score"] = tf.reduce_max(probability, axis=-1)
        else:
            found["class_id"] = peaks["channel"] if self.class_heatmaps else (
                tf.fill(tf.shape(peaks["channel"]), -1))
            found["class_score"] = tf.cast(real & self.class_heatmaps, tf.float32)
        found["class_id"] = tf.where(real, found["class_id"], -1)
        return found

    def _view(self, images, scale):
        """(the network's maps of the page at `scale`, (rows, columns) of them per row, column of the
        page's own grid)."""
        _, height, width, _ = images.shape
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        if (h, w) != (height, width):
            images = tf.cast(tf.image.resize(images, [h, w]), images.dtype)
        multiple = self.model.multiple
        images = tf.pad(images, [[0, 0], [0, -h % multiple], [0, -w % multiple], [0, 0]])
        maps = self.model(images, training=False)[-1]
        stride = self.model.stride
        used = -(-h // stride), -(-w // stride)  # the rest is padding
        return ({name: value[:, :used[0], :used[1]] for name, value in maps.items()},
                (h / height, w / width))

    def _boxes(self, views, cells):
        maps, (down, across) = views[np.argmin(np.abs(np.log(self.scales)))]
        factors = tf.constant([down, across], tf.float32)
        grid = tf.constant(maps["size"].shape[1:3].as_list())
        there = tf.cast((tf.cast(cells, tf.float32) + 0.5) * factors, tf.int32)
        there = tf.minimum(there, grid - 1)
        centres, boxes = decode_boxes(there, gather_cells(maps["offset"], there),
                                      gather_cells(maps["size"], there), self.model.stride)
        scale = tf.constant([across, down], tf.float32)
        return centres / scale, boxes / tf.tile(scale, [2])

    def _logits(self, views, cells):
        """Class logits at the peaks from the mean embedding, each interpolated between four cells."""
        embeddings = []
        for maps, factors in views:
            at = (tf.cast(cells, tf.float32) + 0.5) * tf.constant(factors, tf.float32) - 0.5
            if factors == (1, 1):
                corners, weights = cells[:, :, None], tf.ones([1, 1, 1])
            else:
                corners, weights = _corners(at, maps["features"].shape[1:3])
            b, p, n, _ = corners.shape
            embedding = self.model.class_embedding(maps["features"],
                                                   tf.reshape(corners, [b, p * n, 2]))
            embedding = tf.cast(tf.reshape(embedding, [b, p, n, -1]), tf.float32)
            embeddings.append(tf.reduce_sum(embedding * weights[..., None], axis=2))
        return self.model.class_logits(tf.add_n(embeddings) / len(embeddings))


def _corners(at, grid):
    """The four cells around each place and their bilinear weights, clamped at the border.

    at: float32 [b, p, 2] row, column. Returns int32 [b, p, 4, 2], float32 [b, p, 4].
    """
    last = tf.constant(grid.as_list(), tf.float32) - 1
    at = tf.clip_by_value(at, 0.0, last)
    low = tf.minimum(tf.floor(at), tf.maximum(last - 1, 0))
    share = at - low  # [b, p, 2]
    steps = tf.constant([[0, 0], [0, 1], [1, 0], [1, 1]], tf.float32)
    cells = tf.minimum(low[:, :, None] + steps, last)
    weights = tf.reduce_prod(tf.where(steps > 0, share[:, :, None], 1 - share[:, :, None]), axis=-1)
    return tf.cast(cells, tf.int32), weights
