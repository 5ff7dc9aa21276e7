"""Classification losses: (targets, logits) -> one value per example, not reduced over examples.

targets: float32 [n, k], 0..1, hard or soft: mixed shares, smoothed labels, rows that sum to 0.9 or
to 0, several ones a row. logits: float32 [n, k] (cast if they are not). Result: float32 [n].
Values and gradients are finite for every finite logit. class_weights: float32 [k], >= 0, multiply
each class's term.
"""

import numpy as np
import tensorflow as tf

from models.loss_specs import parse_loss
from models.registry import Registry

LOSSES = Registry("loss")
TINY = 1e-12  # under it a power's base is held, whose slope may be infinite at 0


def smooth(targets, share):
    """Label smoothing: spread `share` (0..1) of each row's sum evenly over its classes.

    targets: float32 [n, k] -> float32 [n, k], rows with the same sums. Szegedy et al., 2015,
    arXiv:1512.00567, where rows sum to 1; a row of sum 0.9 keeps it.
    """
    return (1 - share) * targets + share * tf.reduce_mean(targets, axis=1, keepdims=True)


def cross_entropy(targets, logits, class_weights=1.0):
    """Of the softmax: -sum over k of t_k log p_k."""
    targets, logits = _float32(targets, logits)
    return -tf.reduce_sum(class_weights * targets * tf.nn.log_softmax(logits), axis=1)


def focal(targets, logits, class_weights=1.0, gamma=2.0):
    """Of the softmax: -sum over k of t_k (1 - p_k)^gamma log p_k, gamma >= 0.

    Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002, for many classes.
    """
    targets, logits = _float32(targets, logits)
    log_p = tf.nn.log_softmax(logits)
    miss = tf.maximum(-tf.math.expm1(log_p), TINY)  # 1 - p
    return -tf.reduce_sum(class_weights * targets * miss ** gamma * log_p, axis=1)


def bce(targets, logits, class_weights=1.0):
    """Binary cross-entropy of the sigmoid, the mean over the classes."""
    targets, logits = _float32(targets, logits)
    terms = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    return tf.reduce_mean(class_weights * terms, axis=1)


def binary_focal(targets, logits, class_weights=1.0, gamma=2.0, alpha=None):
    """Binary focal loss, the mean over the classes of a_k |t_k - p_k|^gamma BCE_k, gamma >= 0.

    Lin et al., arXiv:1708.02002, where t is 0 or 1. For soft targets this form (quality focal
    loss, Li et al., 2020, arXiv:2006.04388) is least at p = t; the sum of two focal terms is not.
    alpha: a_k = alpha t_k + (1 - alpha)(1 - t_k), 0..1; None: a_k = 1.
    """
    targets, logits = _float32(targets, logits)
    # |t - p|, exact also where p rounds to 1.
    miss = tf.abs(targets * tf.sigmoid(-logits) - (1 - targets) * tf.sigmoid(logits))
    terms = (tf.maximum(miss, TINY) ** gamma
             * tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
    if alpha is not None:
        terms *= alpha * targets + (1 - alpha) * (1 - targets)
    return tf.reduce_mean(class_weights * terms, axis=1)


def lovasz_hinge(targets, logits):
    """Lovász hinge: the convex surrogate of 1 - Jaccard index, of each example over its classes.

    Berman et al., "The Lovász-Softmax loss", 2018, arXiv:1705.08790, section 3. Extended to soft
    targets, continuously: the error of class k is the expected hinge t_k max(0, 1 - x_k) +
    (1 - t_k) max(0, 1 + x_k), and the Jaccard index counts shares. An example without a positive
    class gives its largest error.
    """
    targets, logits = _float32(targets, logits)
    errors = targets * tf.nn.relu(1 - logits) + (1 - targets) * tf.nn.relu(1 + logits)
    errors, order = tf.math.top_k(errors, errors.shape[1])  # [n, k], falling
    truth = tf.gather(targets, order, batch_dims=1)
    count = tf.reduce_sum(truth, axis=1, keepdims=True)  # [n, 1]
    # 1 - Jaccard index when the first 1, 2, ..., k classes of the order are predicted wrongly.
    jaccard = 1 - (count - tf.cumsum(truth, axis=1)) / (count + tf.cumsum(1 - truth, axis=1))
    steps = tf.concat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], axis=1)
    return tf.reduce_sum(errors * tf.stop_gradient(steps), axis=1)


def switched(first, later, is_later):
    """The loss that is `later` once is_later() says so, inside the step: a bool tensor. Both take (targets,
    logits)."""
    return lambda targets, logits: tf.cond(is_later(), lambda: later(targets, logits),
                                           lambda: first(targets, logits))


def _float32(*tensors):
    return [tf.cast(tensor, tf.float32) for tensor in tensors]


for _loss in (cross_entropy, focal, bce, binary_focal, lovasz_hinge):
    LOSSES.add(_loss.__name__, _loss)


def make_loss(spec, class_weights=None, gamma=2.0, alpha=None):
    """The loss that `spec` names: a function (targets, logits) -> float32 [n].

    spec: a name of LOSSES, or a weighted sum, "binary_focal:1,lovasz_hinge:0.5" (a weight left
    out is 1). class_weights: float [k] or None; gamma: of the focal losses; alpha: of
    binary_focal. Raises ValueError for an unknown or double name, a weight that is no positive
    number, and class weights for lovasz_hinge, which ranks the classes of an example instead of
    adding their terms.
    """
    weights = parse_loss(spec)
    if not gamma >= 0:
        raise ValueError(f"a focal loss needs gamma >= 0, got {gamma}")
    if alpha is not None and not (0 <= alpha <= 1 and "binary_focal" in weights):
        raise ValueError(f"alpha is in 0..1 and goes with binary_focal, got {alpha} for {spec!r}")
    options = {name: {} for name in weights}
    if class_weights is not None:
        class_weights = np.asarray(class_weights, np.float32)
        if class_weights.ndim != 1 or not (np.isfinite(class_weights) & (class_weights >= 0)).all():
            raise ValueError(f"class weights are one finite number >= 0 for each class, not {class_weights}")
        if "lovasz_hinge" in weights:
            raise ValueError("lovasz_hinge takes no class weights, because it ranks the classes; leave "
                             f"them out, or lovasz_hinge out of {spec!r}")
        options = {name: {"class_weights": class_weights} for name in weights}
    for name in {"focal", "binary_focal"} & options.keys():
        options[name]["gamma"] = gamma
    if "binary_focal" in options:
        options["binary_focal"]["alpha"] = alpha

    def loss(targets, logits):
        return tf.add_n([weight * LOSSES[name](targets, logits, **options[name])
                         for name, weight in weights.items()])
    return loss
