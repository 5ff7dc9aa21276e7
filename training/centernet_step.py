"""CenterNet's training step: heatmap, classes at the centres, size and offset, over all devices."""
import dataclasses

import tensorflow as tf
from tensorflow import keras

from models.centernet import CenterNet
from models.centernet_decode import gather_cells
from models.centernet_losses import (heatmap_bce, linear_cross_entropy, masked_l1,
                                     penalty_reduced_focal)
from training.step import Trained, held, replicas

CLASS_REACH = 1  # cells around each centre that learn its class (system D: 3x3)


@dataclasses.dataclass(frozen=True)
class CenterNetLoss:
    """heatmap: "bce", mean over cells (system D), or "focal", per centre (CenterNet). The others are
    weights of the parts: cross-entropy per cell of the 3x3 around each centre; L1 of size and offset,
    in cells, per centre."""
    heatmap: str = "bce"
    class_weight: float = 0.1
    size_weight: float = 0.1
    offset_weight: float = 1.0


class TrainedCenterNet(Trained, CenterNet):
    """A CenterNet that learns from batches of (images, models.centernet_targets' dict).

    Sums of losses are divided by counts over all devices, so a step does the same however many
    devices share its batch (BatchNorm's statistics aside).
    """

    def set_loss(self, loss):
        """loss: CenterNetLoss. Call it in the strategy's scope, before training."""
        self.centernet_loss = loss
        names = ["loss", "heatmap", "size", "offset"] + (["class"] if self.n_classes else [])
        means = {name: keras.metrics.Mean(name=name) for name in names}
        means["left_out"] = keras.metrics.Sum(name="left_out")
        self.measures = held(means)

    @property
    def metrics(self):
        return list(self.measures().values())

    def train_step(self, data):
        batch = self.prepared(data)
        counts = self._counts(batch[1])
        names = ["loss", *(name for name in self.measures() if name not in ("loss", "left_out"))]
        gradients, sums, _ = self.accumulated(
            lambda micro: self._part(*micro, counts), batch, names)
        self.apply(gradients)
        weights = {"class": self.centernet_loss.class_weight, "size": self.centernet_loss.size_weight,
                   "offset": self.centernet_loss.offset_weight}
        measures = self.measures()
        for name, value in sums.items():  # parts are shown without their weight
            measures[name].update_state(value * replicas() / (weights.get(name, 1.0) or 1.0))
        measures["left_out"].update_state(batch[1]["left_out"])
        return {metric.name: metric.result() for metric in self.metrics}

    def _part(self, images, targets, counts):
        parts = self.losses_of(images, targets, counts)
        # Each device holds its share of the sums; the optimizer adds up the gradients.
        loss = tf.add_n(list(parts.values())) + self._regularisation()
        return loss, {"loss": loss, **parts}, {}

    def _regularisation(self):
        """The backbone's own losses, this micro-batch's share."""
        own = [tf.cast(loss, tf.float32) for loss in self.losses]
        return tf.add_n(own) / (replicas() * self.accumulate) if own else 0.0

    def _counts(self, targets):
        """What sums are divided by, over all devices: cells of the heatmap, characters, and cells of
        the map that learn a class."""
        mask = targets["mask"]
        counts = {"cells": tf.cast(tf.size(targets["heatmap"], tf.int32), tf.float32),
                  "centres": tf.reduce_sum(mask),
                  "class_cells": tf.reduce_sum(self._class_cells(targets))}
        return {name: _over_devices(count) for name, count in counts.items()}

    def losses_of(self, images, targets, counts):
        """{part: float32 scalar}, weighted, this device's share of the whole batch's loss."""
        options, mask = self.centernet_loss, targets["mask"]
        stacks = self(images, training=True)
        heatmap_loss = heatmap_bce if options.heatmap == "bce" else penalty_reduced_focal
        by = counts["cells" if options.heatmap == "bce" else "centres"]
        parts = {"heatmap": 0.0, "size": 0.0, "offset": 0.0}
        for maps in stacks:
            at = {name: gather_cells(maps[name], targets["cells"]) for name in ("size", "offset")}
            parts["heatmap"] += tf.reduce_sum(heatmap_loss(maps["heatmap"], targets["heatmap"])) / by
            for name in at:
                parts[name] += (tf.reduce_sum(masked_l1(at[name], targets[name], mask))
                                / counts["centres"])
        parts["size"] *= options.size_weight
        parts["offset"] *= options.offset_weight
        if self.n_classes:
            parts["class"] = (options.class_weight * self._class_loss(stacks[-1], targets)
                              / counts["class_cells"])
        return {name: part / len(stacks) if name != "class" else part
                for name, part in parts.items()}

    def _class_loss(self, maps, targets):
        """Summed cross-entropy over the cells within CLASS_REACH of each centre that lie on the grid."""
        embedding = self.class_embedding(maps["features"], targets["cells"], CLASS_REACH,
                                         training=True)  # [b, m, 9, d]
        around, depth = embedding.shape[2:]
        labels = tf.repeat(targets["class_ids"], around)  # [b * m * 9]
        return linear_cross_entropy(
            tf.reshape(embedding, [-1, depth]), tf.convert_to_tensor(self.class_kernel),
            tf.convert_to_tensor(self.class_bias), labels,
            tf.reshape(self._class_cells(targets), [-1]))

    @staticmethod
    def _class_cells(targets):
        """float32 [b, m, 9]: 1 for the cells around each character that lie on the grid."""
        steps = tf.range(-CLASS_REACH, CLASS_REACH + 1)
        reach = tf.stack(tf.meshgrid(steps, steps, indexing="ij"), -1)  # [3, 3, 2] row, col
        near = targets["cells"][:, :, None] + tf.reshape(reach, [-1, 2])  # [b, m, 9, 2]
        grid = tf.constant(targets["heatmap"].shape[1:3].as_list())
        inside = tf.reduce_all((near >= 0) & (near < grid), axis=-1)  # [b, m, 9]
        return tf.cast(inside, tf.float32) * targets["mask"][:, :, None]


def _over_devices(count):
    """A count summed over all devices, at least 1."""
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.maximum(total, 1.0)
