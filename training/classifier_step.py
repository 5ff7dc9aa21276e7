"""A classifier's training step: soft targets, margins, weighted losses, distillation."""
import tensorflow as tf
from tensorflow import keras

from models.heads import AdaCosHead
from models.losses import smooth
from models.margins import adacos_scale, adacos_statistics
from training.step import Trained, held, replicas


class TrainedClassifier(Trained, keras.Model):
    """A classifier (models.classifier) that learns from batches of (images, soft targets)."""

    def set_objective(self, loss, *, margin=None, label_smoothing=0.0, distillation=None,
                      multilabel=False):
        """Call it in the strategy's scope, before training.

        loss: function (targets float32 [n, k], logits float32 [n, k]) -> float32 [n]. margin: one of
        models.margins, for a head of cosines. multilabel: a record has any number of labels; "accuracy" is
        then how often the most probable class is one of them. label_smoothing: share of the target spread over all
        classes. distillation: training.distillation.Distillation.
        """
        self.loss_of, self.margin, self.label_smoothing = loss, margin, label_smoothing
        self.multilabel = multilabel
        means = {name: keras.metrics.Mean(name=name) for name in ("loss", "accuracy")}
        self.measures, self.distillation = held(means), held(distillation)
        self.adapts = isinstance(self.get_layer("head"), AdaCosHead)

    @property
    def metrics(self):
        return list(self.measures().values())

    def train_step(self, data):
        batch = self.prepared(data)
        n = tf.shape(batch[1])[0]
        over_all = tf.cast(n * replicas(), tf.float32)
        vectors = ("log_sum", "cosine") if self.adapts else ()
        gradients, sums, values = self.accumulated(
            lambda micro: self._part(*micro, over_all), batch, ("loss", "right"), vectors)
        self.apply(gradients)
        if self.adapts:
            self._adapt(values)
        n = tf.cast(n, tf.float32)
        for metric, name in zip(self.metrics, ("loss", "right")):
            metric.update_state(sums[name] / n, n)
        return {metric.name: metric.result() for metric in self.metrics}

    def _part(self, images, targets, over_all):
        """Of a micro-batch: its share of the loss, sums, and what AdaCos looks at."""
        distillation = self.distillation()
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
        sums = {"loss": total, "right": tf.reduce_sum(tf.cast(right, tf.float32))}
        return total / over_all + regularisation, sums, values

    def _adapt(self, values):
        """AdaCos: the scale of the next step, from the whole batch of all devices."""
        context = tf.distribute.get_replica_context()
        everywhere = [context.all_gather(values[name], axis=0)
                      for name in ("log_sum", "cosine")]
        self.get_layer("head").scale.assign(adacos_scale(*everywhere))
