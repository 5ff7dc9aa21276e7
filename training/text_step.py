"""A CRNN's training step: CTC loss of padded texts, over all devices."""
import tensorflow as tf
from tensorflow import keras

from models.ctc import ctc_loss, greedy_decode, reads_alike
from training.step import Trained, held, replicas


class TrainedCRNN(Trained, keras.Model):
    """A CRNN (models.crnn) that learns from batches of (images, texts int32 [n, longest], padded by -1)."""

    def set_loss(self):
        """Call it in the strategy's scope, before training. "accuracy": of texts read without a fault."""
        self.measures = held({name: keras.metrics.Mean(name=name) for name in ("loss", "accuracy")})

    @property
    def metrics(self):
        return list(self.measures().values())

    def train_step(self, data):
        batch = self.prepared(data)
        n = tf.cast(tf.shape(batch[1])[0], tf.float32)
        gradients, sums, _ = self.accumulated(
            lambda micro: self._part(*micro, n * replicas()), batch, ("loss", "accuracy"))
        self.apply(gradients)
        for metric in self.metrics:
            metric.update_state(sums[metric.name] / n, n)
        return {metric.name: metric.result() for metric in self.metrics}

    def _part(self, images, texts, over_all):
        """Of a micro-batch: its share of the loss, and sums."""
        logits = self(images, training=True)
        total = tf.reduce_sum(ctc_loss(texts, logits))
        right = reads_alike(greedy_decode(logits)["ids"], texts)
        return total / over_all, {"loss": total, "accuracy": tf.reduce_sum(tf.cast(right, tf.float32))}, {}
