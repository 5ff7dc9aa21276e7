"""Accuracy figures of a validation, with and without records that also stand on the training side."""
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp


def on_device(labels):
    """The `outputs` of inference.predict.classifier for a validation: loss and predicted class.

    labels: int [n], by index; or uint8 [n, classes], of several labels, for which the loss is the mean
    binary cross-entropy and logits take the place of predicted. Gives loss float32 [b], predicted int32 [b].
    """
    if np.ndim(labels) == 2:
        held = tf.constant(labels, tf.uint8)

        def several(logits, index):
            truth = tf.cast(tf.gather(held, tf.maximum(index, 0)), tf.float32)
            return {"loss": tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), axis=1),
                    "logits": logits}
        return several
    labels = tf.constant(labels, tf.int32)

    def outputs(logits, index):
        truth = tf.gather(labels, tf.maximum(index, 0))
        return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits),
                "predicted": tf.argmax(logits, axis=1, output_type=tf.int32)}
    return outputs


def cross_entropy(logits, labels):
    """float64 [n]. logits: float [n, classes]; labels: int [n], or of several uint8 [n, classes]: then the
    mean binary cross-entropy."""
    if np.ndim(labels) == 2:
        return np.array([np.mean(np.logaddexp(0, row) - row * own)
                         for row, own in zip(logits.astype(np.float64), labels)])
    return logsumexp(logits, axis=1) - np.asarray(logits, np.float64)[np.arange(len(labels)), labels]


def accuracy_figures(labels, predicted, loss, shared):
    """dict of figures. labels, predicted: int [n]; loss: float [n]; shared: bool [n], the records
    that validate only by a rare-class rule.

    balanced: mean over classes of each class's accuracy. not_shared: over the others only.
    """
    right = np.asarray(labels) == np.asarray(predicted)
    counts = np.bincount(labels)
    per_class = np.bincount(labels, right) / np.maximum(counts, 1)
    figures = {"loss": float(np.mean(loss)), "accuracy": float(right.mean()),
               "balanced_accuracy": float(per_class[counts > 0].mean())}
    if shared.any() and not shared.all():
        figures["accuracy_not_shared"] = float(right[~shared].mean())
    return figures
