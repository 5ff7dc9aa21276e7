"""Margins on cosines, applied in the loss, where the label is known; the network has none of them.

A margin makes the cosine of the right class smaller during training, so that the classes come to
lie further apart. Every margin is a function of (cosines, targets) -> cosines; the logits are the
result times the head's scale.

cosines: float32 [n, k], -1..1 (and slightly beyond by rounding). targets: float32 [n, k], 0..1.
Targets may be soft: the margin of class k is scaled by its share t_k of the target, which is the
published margin where t_k = 1 and none where t_k = 0. Values and gradients are finite everywhere.

    theta = arccos(cosine), the angle between feature and class
    ArcFace     cos(theta + m t)          Deng et al., 2018, arXiv:1801.07698
    CosFace     cos(theta) - m t          Wang et al., 2018, arXiv:1801.09414
    SphereFace  psi((1 + (m - 1) t) theta)    Liu et al., 2017, arXiv:1704.08063
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.registry import Registry

MARGINS = Registry("margin")
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))  # the largest float32 below 1


@dataclasses.dataclass(frozen=True)
class ArcFace:
    """cos(theta + m t), m in radians, 0..pi. ValueError for another m.

    Beyond theta + m t = pi, where the cosine would rise again, it goes on as
    cos(theta) - 1 + cos(m t): monotone and continuous. (The released code goes on there as
    cos(theta) - m sin(m), with a jump.)
    """

    margin: float = 0.5

    def __post_init__(self):
        _check("an ArcFace", self.margin, 0, math.pi)

    def __call__(self, cosines, targets):
        margin = self.margin * targets
        theta = _angle(cosines) + margin
        return tf.where(theta < math.pi, tf.cos(theta), cosines - 1 + tf.cos(margin))


@dataclasses.dataclass(frozen=True)
class CosFace:
    """cos(theta) - m t, m in 0..2. ValueError for another m."""

    margin: float = 0.4

    def __post_init__(self):
        _check("a CosFace", self.margin, 0, 2)

    def __call__(self, cosines, targets):
        return cosines - self.margin * targets


@dataclasses.dataclass(frozen=True)
class SphereFace:
    """psi(phi) = (-1)^j cos(phi) - 2j, with phi = (1 + (m - 1) t) theta in j pi..(j + 1) pi.

    psi is the monotone continuation of the cosine beyond pi. m: a factor, 1..10; ValueError for
    another. Normalised features, as in the comparison of the ArcFace paper.
    """

    margin: float = 1.35

    def __post_init__(self):
        _check("a SphereFace", self.margin, 1, 10)

    def __call__(self, cosines, targets):
        phi = (1 + (self.margin - 1) * targets) * _angle(cosines)
        j = tf.floor(phi / math.pi)
        return (1 - 2 * (j % 2)) * tf.cos(phi) - 2 * j


def _check(margin, value, low, high):
    if not low <= value <= high:
        raise ValueError(f"{margin} margin lies between {low} and {high:.4g}, not at {value}")


def _angle(cosines):
    """arccos, whose slope -1 / sin(theta) stays finite: at most 3e3, which it has at BELOW_ONE."""
    inside = tf.clip_by_value(cosines, -BELOW_ONE, BELOW_ONE)
    inside = cosines + tf.stop_gradient(inside - cosines)  # clipped, with the slope at the border
    return tf.atan2(tf.sqrt((1 - inside) * (1 + inside)), inside)


MARGINS.add("arcface", ArcFace)
MARGINS.add("cosface", CosFace)
MARGINS.add("sphereface", SphereFace)


# AdaCos has no margin, and a scale that follows the training:
# Zhang et al., "AdaCos: Adaptively Scaling Cosine Logits", 2019, arXiv:1905.00292.

# Few classes, or cosines that are all high, would drive the scale to 0 or without end.
LOWEST_SCALE, HIGHEST_SCALE = math.sqrt(2) * math.log(2), 64.0  # adacos_start(3); ArcFace's scale


def adacos_start(n_classes):
    """The first scale, sqrt(2) log(n_classes - 1): a float. One and two classes get that of three."""
    return max(LOWEST_SCALE, math.sqrt(2) * math.log(max(n_classes - 1, 1)))


def adacos_statistics(cosines, targets, scale):
    """What each example says about the next scale, a constant to gradients.

    cosines, targets: float32 [n, k]; scale: the present one, float32 scalar. Returns
    (log_sums float32 [n], target_cosines float32 [n]): the log of the sum over the other classes
    of exp(scale cosine), class k counted 1 - t_k times (-inf if there are no others), and the
    cosine of the class with the largest target.
    """
    others = tf.math.log(tf.maximum(1 - targets, 0))  # -inf for the class itself
    log_sums = tf.reduce_logsumexp(scale * cosines + others, axis=1)
    target_cosines = tf.gather(cosines, tf.argmax(targets, axis=1), batch_dims=1)
    return tf.stop_gradient(log_sums), tf.stop_gradient(target_cosines)


def adacos_scale(log_sums, target_cosines):
    """The next scale from the whole batch: log(B_avg) / cos(min(pi / 4, theta_med)), a float32 scalar.

    log_sums, target_cosines: float32 [N], adacos_statistics of all N examples over all devices.
    B_avg is the mean of exp(log_sums), theta_med the median of the angle to the target's class.
    The result is kept in LOWEST_SCALE..HIGHEST_SCALE, which the paper leaves open.
    """
    n = tf.size(log_sums)
    log_mean = tf.reduce_logsumexp(log_sums) - tf.math.log(tf.cast(n, tf.float32))
    theta = tf.sort(tf.acos(tf.clip_by_value(target_cosines, -1.0, 1.0)))
    median = (theta[(n - 1) // 2] + theta[n // 2]) / 2
    scale = log_mean / tf.cos(tf.minimum(math.pi / 4, median))
    return tf.clip_by_value(scale, LOWEST_SCALE, HIGHEST_SCALE)
