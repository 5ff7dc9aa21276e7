"""A classifier's training step: soft targets, margins, weighted losses, distillation."""
import numpy as np
import tensorflow as tf
from tensorflow import keras

from models.heads import AdaCosHead
from models.losses import cross_entropy, smooth
from models.margins import adacos_scale, adacos_statistics
from training.step import Trained, held, replicas


class TrainedClassifier(Trained, keras.Model):
    """A classifier (models.classifier) that learns from batches of (images, soft targets)."""

    def set_objective(self, loss, *, margin=None, label_smoothing=0.0, distillation=None,
                      multilabel=False, levels=(), level_weight=0.0):
        """Call it in the strategy's scope, before training.

        loss: function (targets float32 [n, k], logits float32 [n, k]) -> float32 [n]. margin: one of
        models.margins, for a head of cosines. multilabel: a record has any number of labels; "accuracy" is
        then how often the most probable class is one of them. label_smoothing: share of the target spread over all
        classes. distillation: training.distillation.Distillation. levels: of a network with level heads, and no
        distillation, int [classes] for each level, which of its categories a class belongs to. level_weight:
        of the sum of their cross-entropies.
        """
        self.loss_of, self.margin, self.label_smoothing = loss, margin, label_smoothing
        self.multilabel = multilabel
        sums = ["loss", "right", *(f"level{k + 1}_head_right" for k in range(len(levels)))]
        means = {name: keras.metrics.Mean(name=name.replace("right", "accuracy")) for name in sums}
        self.levels = held(self._with_features(levels, level_weight) if levels else None)
        self.measures, self.distillation = held(means), held(distillation)
        self.adapts = isinstance(self.get_layer("head"), AdaCosHead)

    def _with_features(self, levels, weight):
        """(network that also gives the features, of each level one-hot float32 [classes, categories], weight)"""
        heads = self.get_layer("head_levels")
        members = [np.eye(size, dtype=np.float32)[of_class]
                   for of_class, size in zip(levels, heads.sizes, strict=True)]
        return keras.Model(self.input, [self.output, heads.output]), members, weight

    @property
    def metrics(self):
        return list(self.measures().values())

    def train_step(self, data):
        batch = self.prepared(data)
        n = tf.shape(batch[1])[0]
        over_all = tf.cast(n * replicas(), tf.float32)
        vectors = ("log_sum", "cosine") if self.adapts else ()
        gradients, sums, values = self.accumulated(
            lambda micro: self._part(*micro, over_all), batch, list(self.measures()), vectors)
        self.apply(gradients)
        if self.adapts:
            self._adapt(values)
        n = tf.cast(n, tf.float32)
        for metric, name in zip(self.metrics, self.measures()):
            metric.update_state(sums[name] / n, n)
        return {metric.name: metric.result() for metric in self.metrics}

    def _part(self, images, targets, over_all):
        """Of a micro-batch: its share of the loss, sums, and what AdaCos looks at."""
        distillation, levels = self.distillation(), self.levels()
        images = tf.nest.map_structure(lambda x: tf.reshape(x, [-1, *x.shape[2:]]) if x.shape.rank == 5 else x,
                                       images)  # of several pictures a record
        sums = {}
        if levels:
            logits, extra, sums = self._levels_too(images, targets, *levels)
        else:
            logits, extra = distillation(images) if distillation else (self(images, training=True), 0.0)
        best = tf.argmax(logits, axis=1)
        right = (tf.gather(targets, best, batch_dims=1) >= 0.5 if self.multilabel else
                 tf.argmax(targets, axis=1) == best)
        targets = smooth(targets, self.label_smoothing)
        head, values = self.get_layer("head"), {}
        if self.adapts:
            values = dict(zip(("log_sum", "cosine"),
                              adacos_statistics(logits / head.scale, targets, head.scale)))
        elif self.margin:
            logits = head.scale * self.margin(logits / head.scale, targets)
        losses = self.loss_of(targets, logits) + extra  # [m]
        own = [tf.cast(x, tf.float32) for x in self.losses]  # of the backbone's regularisers
        regularisation = tf.add_n(own) / (replicas() * self.accumulate) if own else 0.0
        total = tf.reduce_sum(losses)
        sums |= {"loss": total, "right": tf.reduce_sum(tf.cast(right, tf.float32))}
        return total / over_all + regularisation, sums, values

    def _levels_too(self, images, targets, network, members, weight):
        """(logits, what the level heads add to the losses float32 [m], how often each is right)"""
        logits, features = network(images, training=True)
        extra, sums = 0.0, {}
        for k, (member, own) in enumerate(zip(members, self.get_layer("head_levels").logits(features))):
            truth = tf.matmul(targets, member)  # float32 [m, categories], mixed and scaled as the targets are
            extra += weight * cross_entropy(truth, own)
            right = tf.argmax(truth, axis=1) == tf.argmax(own, axis=1)
            sums[f"level{k + 1}_head_right"] = tf.reduce_sum(tf.cast(right, tf.float32))
        return logits, extra, sums

    def _adapt(self, values):
        """AdaCos: the scale of the next step, from the whole batch of all devices."""
        context = tf.distribute.get_replica_context()
        everywhere = [context.all_gather(values[name], axis=0)
                      for name in ("log_sum", "cosine")]
        self.get_layer("head").scale.assign(adacos_scale(*everywhere))
