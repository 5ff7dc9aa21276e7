"""Accuracy figures of a validation, with and without records that also stand on the training side."""
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp


def on_device(labels):
    """The `outputs` of inference.predict.classifier for a validation: loss and predicted class.

    labels: int [n], by index. Gives loss float32 [b], predicted int32 [b].
    """
    labels = tf.constant(labels, tf.int32)

    def outputs(logits, index):
        truth = tf.gather(labels, tf.maximum(index, 0))
        return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits),
                "predicted": tf.argmax(logits, axis=1, output_type=tf.int32)}
    return outputs


def cross_entropy(logits, labels):
    """float64 [n]. logits: float [n, classes]; labels: int [n]."""
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
