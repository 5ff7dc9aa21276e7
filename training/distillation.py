"""A network that also learns from another: its softened probabilities and its attention maps.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531; Zagoruyko and
Komodakis, "Paying More Attention to Attention", 2017, arXiv:1612.03928 (activation-based).
"""
import numpy as np
import tensorflow as tf
from tensorflow import keras

from models.pyramid import bottlenecks

MOST_LEVELS = 4  # attention maps compared, from the last one backwards
# Squared length under which a map of attention is scaled by a constant: a dead map is 0, not NaN.
MIN_SQUARED_LENGTH = 1e-12


class Distillation:
    """(images) -> (the student's logits, what its losses get from the teacher); inside a training step.

    student, teacher: classifiers (models.classifier), the teacher under any head, neither changed:
    the layers called are the student's own, and the teacher stays apart from its weights. weight: of
    soft_target_loss, times temperature squared, which keeps the size of its gradients. attention_weight:
    of the sum of attention_loss over the levels that both have. Both weights are >= 0, temperature
    is above 0. student_input, teacher_input: what each takes, the `input` entries of their run.json
    (size px, channels, mean, std); means and deviations may differ.

    Raises ValueError for other sizes, channels or numbers of classes, and, with attention_weight, for
    networks that have no level in common.
    """

    def __init__(self, student, teacher, *, weight, temperature, attention_weight, student_input,
                 teacher_input):
        own, its = ((entry["size"], entry["channels"]) for entry in (student_input, teacher_input))
        if own != its:
            raise ValueError(f"the teacher takes images of {its[0]} px in {its[1]} channels, the student "
                             f"{own[0]} px in {own[1]}: they must be the same")
        if student.output_shape != teacher.output_shape:
            raise ValueError(f"the teacher tells {teacher.output_shape[-1]} classes apart, the student "
                             f"{student.output_shape[-1]}: they must be the same")
        if not (weight >= 0 and attention_weight >= 0 and temperature > 0):
            raise ValueError("distillation needs weights >= 0 and a temperature above 0, got "
                             f"{weight}, {attention_weight} and {temperature}")
        self.weight, self.temperature, self.attention_weight = weight, temperature, attention_weight
        self.scale, self.offset = _conversion(student_input, teacher_input)
        self.sizes = common_levels(student, teacher) if attention_weight else []
        self.student, self.teacher = (_with_levels(model, self.sizes) for model in (student, teacher))

    def __call__(self, images):
        """images: float [m, h, w, c] as the student takes them. Returns (logits float32 [m, k], losses
        float32 [m] to be added to its own)."""
        logits, *maps = _as_list(self.student(images, training=True))
        logits = tf.cast(logits, tf.float32)
        teacher_logits, *teacher_maps = map(tf.stop_gradient, _as_list(
            self.teacher(self._for_teacher(images), training=False)))
        losses = self.weight * self.temperature ** 2 * soft_target_loss(
            logits, teacher_logits, self.temperature)
        for own, its in zip(maps, teacher_maps):
            losses += self.attention_weight * attention_loss(own, its)
        return logits, losses

    def _for_teacher(self, images):
        if np.all(self.scale == 1) and np.all(self.offset == 0):
            return images
        return tf.cast(tf.cast(images, tf.float32) * self.scale + self.offset, images.dtype)


def soft_target_loss(logits, teacher_logits, temperature):
    """Kullback-Leibler divergence of softmax(logits / T) from softmax(teacher_logits / T).

    float [m, k] -> float32 [m], 0 where both agree. To the logits its gradient is that of the
    cross-entropy of the paper, which is larger by the teacher's entropy.
    """
    log_q, log_p = (tf.nn.log_softmax(tf.cast(x, tf.float32) / temperature)
                    for x in (logits, teacher_logits))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1)


def attention_loss(features, teacher_features):
    """Mean over the places of the squared difference of two attention maps, as in the published code
    (whose weight is 1000).

    features [m, h, w, c], teacher_features [m, h, w, c']: float -> float32 [m].
    """
    return tf.reduce_mean(tf.math.squared_difference(
        attention_map(features), attention_map(teacher_features)), axis=1)


def attention_map(features):
    """Mean square over the channels at each place, of length 1: float [m, h, w, c] -> float32 [m, h*w]."""
    energy = tf.reduce_mean(tf.square(tf.cast(features, tf.float32)), axis=-1)  # [m, h, w]
    flat = tf.reshape(energy, [-1, energy.shape[1] * energy.shape[2]])
    return tf.math.l2_normalize(flat, axis=1, epsilon=MIN_SQUARED_LENGTH)


def common_levels(student, teacher):
    """Sizes (h, w) at which both networks have a level, the last MOST_LEVELS of them, larger first."""
    ours, theirs = levels(student), levels(teacher)
    both = [size for size in ours if size in theirs]
    if not both:
        raise ValueError("attention is transferred between feature maps of the same size, and there are "
                         f"none: the student has {_sizes(ours)}, the teacher {_sizes(theirs)}")
    return both[-MOST_LEVELS:]


def levels(model):
    """{(h, w): tensor [n, h, w, c]}, symbolic: of each size below the input's the last feature map which
    all that is deeper depends on, the end of a stage. Maps of one place are left out: their attention is
    always 1."""
    height, width = model.input_shape[1:3]
    return {tuple(x.shape[1:3]): x for x in bottlenecks(model)
            if len(x.shape) == 4 and x.shape[1] < height and x.shape[2] < width
            and x.shape[1] * x.shape[2] > 1}


def _with_levels(model, sizes):
    """The model, also giving its levels of these sizes."""
    if not sizes:
        return model
    found = levels(model)
    return keras.Model(model.input, [model.output, *(found[size] for size in sizes)])


def _conversion(source, target):
    """(scale, offset), float32 [1] or [c]: what takes images normalised for `source` to `target`."""
    (mean, std), (new_mean, new_std) = (
        (np.asarray(entry["mean"]), np.asarray(entry["std"])) for entry in (source, target))
    return np.float32(std / new_std), np.float32((mean - new_mean) / new_std)


def _as_list(outputs):
    return outputs if isinstance(outputs, (list, tuple)) else [outputs]


def _sizes(found):
    return ", ".join(f"{h}x{w}" for h, w in found) or "none"
