"""CenterNet's training step: heatmap, classes at the centres, size and offset, over all devices."""
import dataclasses

import tensorflow as tf
from tensorflow import keras

from models.centernet import CenterNet
from models.centernet_decode import gather_cells
from models.centernet_losses import (heatmap_bce, linear_cross_entropy, masked_l1,
                                     penalty_reduced_focal)
from training.device_augmentation import AugmentsOnDevice

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


class TrainedCenterNet(AugmentsOnDevice, CenterNet):
    """A CenterNet that `fit` can train on batches of (images, models.centernet_targets' dict).

    Sums of losses are divided by counts over all devices, so a step does the same however many
    devices share its batch (BatchNorm's statistics aside).
    """

    def set_loss(self, loss):
        """loss: CenterNetLoss. Call it in the strategy's scope, before compile."""
        self.centernet_loss = loss
        names = ["loss", "heatmap", "size", "offset"] + (["class"] if self.n_classes else [])
        means = {name: keras.metrics.Mean(name=name) for name in names}
        means["left_out"] = keras.metrics.Sum(name="left_out")
        # Behind a function, since Keras would count an attribute's variables among the weights.
        self.measures = lambda: means

    @property
    def metrics(self):
        return list(self.measures().values())

    def train_step(self, data):
        images, targets = self.prepared(data)
        with tf.GradientTape() as tape:
            parts = self.losses_of(images, targets)
            # Each device holds its share of the sums; the optimizer adds up the gradients.
            loss = tf.add_n(list(parts.values())) + self._regularisation()
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        weights = {"class": self.centernet_loss.class_weight, "size": self.centernet_loss.size_weight,
                   "offset": self.centernet_loss.offset_weight}
        measures = self.measures()
        measures["loss"].update_state(loss * replicas)
        for name, part in parts.items():  # shown without its weight
            weight = weights.get(name, 1.0)
            measures[name].update_state(part * replicas / weight if weight else part)
        measures["left_out"].update_state(targets["left_out"])
        return {metric.name: metric.result() for metric in self.metrics}

    def _regularisation(self):
        """The backbone's own losses, this device's share."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses]) / replicas if (
            self.losses) else 0.0

    def losses_of(self, images, targets):
        """{part: float32 scalar}, weighted, this device's share of the whole batch's loss."""
        options, mask = self.centernet_loss, targets["mask"]
        stacks = self(images, training=True)
        heatmap_loss = heatmap_bce if options.heatmap == "bce" else penalty_reduced_focal
        cells = tf.size(targets["heatmap"], tf.int32)
        centres = _over_devices(tf.reduce_sum(mask))
        by = _over_devices(tf.cast(cells, tf.float32)) if options.heatmap == "bce" else centres
        parts = {"heatmap": 0.0, "size": 0.0, "offset": 0.0}
        for maps in stacks:
            at = {name: gather_cells(maps[name], targets["cells"]) for name in ("size", "offset")}
            parts["heatmap"] += tf.reduce_sum(heatmap_loss(maps["heatmap"], targets["heatmap"])) / by
            for name in at:
                parts[name] += tf.reduce_sum(masked_l1(at[name], targets[name], mask)) / centres
        parts["size"] *= options.size_weight
        parts["offset"] *= options.offset_weight
        if self.n_classes:
            parts["class"] = options.class_weight * self._class_loss(stacks[-1], targets)
        return {name: part / len(stacks) if name != "class" else part
                for name, part in parts.items()}

    def _class_loss(self, maps, targets):
        """Mean cross-entropy over the cells within CLASS_REACH of each centre that lie on the grid."""
        embedding = self.class_embedding(maps["features"], targets["cells"], CLASS_REACH,
                                         training=True)  # [b, m, 9, d]
        b, m, around, depth = embedding.shape
        steps = tf.range(-CLASS_REACH, CLASS_REACH + 1)
        reach = tf.stack(tf.meshgrid(steps, steps, indexing="ij"), -1)  # [3, 3, 2] row, col
        near = targets["cells"][:, :, None] + tf.reshape(reach, [around, 2])  # [b, m, 9, 2]
        grid = tf.constant(maps["heatmap"].shape[1:3].as_list())
        inside = tf.reduce_all((near >= 0) & (near < grid), axis=-1)  # [b, m, 9]
        weights = tf.cast(inside, tf.float32) * targets["mask"][:, :, None]
        labels = tf.repeat(targets["class_ids"], around)  # [b * m * 9]
        total = linear_cross_entropy(
            tf.reshape(embedding, [-1, depth]), tf.convert_to_tensor(self.class_kernel),
            tf.convert_to_tensor(self.class_bias), labels, tf.reshape(weights, [-1]))
        return total / _over_devices(tf.reduce_sum(weights))


def _over_devices(count):
    """A count summed over all devices, at least 1."""
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.maximum(total, 1.0)


class LeftOutReport(keras.callbacks.Callback):
    """Says after each epoch how many characters there was no room for in the crops, if any."""

    def __init__(self, max_characters):
        super().__init__()
        self.max_characters = max_characters

    def on_epoch_end(self, epoch, logs=None):
        if logs["left_out"]:
            print(f"warning: {logs['left_out']:.0f} characters did not fit in --max_characters="
                  f"{self.max_characters} in epoch {epoch + 1}, and were not learned: raise it")


def compile_centernet(model, optimizer, loss, *, steps_per_execution=1, xla=None):
    """Readies a TrainedCenterNet for fit. Call in the strategy's scope."""
    model.set_loss(loss)
    model.compile(optimizer=optimizer, steps_per_execution=steps_per_execution, jit_compile=xla)
