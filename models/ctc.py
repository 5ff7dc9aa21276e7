"""Connectionist temporal classification: the loss of a text that has no places, and what a network reads.

Graves et al., "Connectionist Temporal Classification", 2006. Texts are int32 [n, longest], class ids padded
by -1; logits are [n, steps, classes + 1], the last of which is the blank's. A path says a class or blank at
every step; its text is what is left when repeats are made one and then blanks left out. All shapes are
static, and everything compiles with XLA.
"""
import numpy as np
import tensorflow as tf

IMPOSSIBLE = -1e9  # a logarithm of probability; finite, so that no gradient is 0 x infinity


def steps_needed(texts):
    """int [n]: the fewest steps in which each text can be said: its length, and a blank between every two
    equal neighbours. texts: NumPy, as above."""
    texts = np.asarray(texts)
    return (texts >= 0).sum(1) + ((texts[:, 1:] == texts[:, :-1]) & (texts[:, 1:] >= 0)).sum(1)


def ctc_loss(texts, logits):
    """float32 [n]: -log of the summed probability of all paths of each text; about 1e9 where there are fewer
    steps than steps_needed.

    The forward algorithm over the states blank, c1, blank, c2, ..., blank, in logarithms: a few operations
    on [n, 2 longest + 1] a step. Ours, as tf.nn.ctc_loss's kernel for sparse labels does not compile, and its
    dense form multiplies with a matrix of states x states a step: with its gradient 82 ms compiled and 264 ms
    not, where this takes 12 ms, for 32 texts of up to 24 of 80 classes in 160 steps (2 CPU cores).
    """
    return _loss(tf.convert_to_tensor(texts), tf.cast(logits, tf.float32))


@tf.custom_gradient
def _loss(texts, logits):
    loss, gradient = _loss_and_gradient(texts, tf.stop_gradient(logits))
    return loss, lambda of_loss: (None, of_loss[:, None, None] * gradient)


@tf.function(jit_compile=True, autograph=False)
def _loss_and_gradient(texts, logits):
    """Both in one, as the states of a loop cannot leave what is compiled."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = _forward(texts, logits)
    return loss, tape.gradient(loss, logits)


def _forward(texts, logits):
    log_p = tf.nn.log_softmax(logits)
    n, steps, blank = tf.shape(log_p)[0], log_p.shape[1], log_p.shape[2] - 1
    longest = texts.shape[1]
    states = 2 * longest + 1
    own = tf.where(texts < 0, blank, texts)
    said = tf.reshape(tf.stack([tf.fill([n, longest], blank), own], axis=2), [n, 2 * longest])
    said = tf.concat([said, tf.fill([n, 1], blank)], axis=1)  # [n, states]
    # A class may follow the one before without a blank between them, unless it is the same.
    follows = (said[:, 2:] != said[:, :-2]) & (said[:, 2:] != blank)
    skip = tf.pad(tf.where(follows, 0.0, IMPOSSIBLE), [[0, 0], [2, 0]], constant_values=IMPOSSIBLE)
    at = tf.transpose(tf.gather(log_p, said, axis=2, batch_dims=1), [1, 0, 2])  # [steps, n, states]

    def later(state, by):
        return tf.pad(state[:, :states - by], [[0, 0], [by, 0]], constant_values=IMPOSSIBLE)

    def step(t, state):
        ways = tf.stack([state, later(state, 1), later(state, 2) + skip])
        return t + 1, tf.reduce_logsumexp(ways, axis=0) + at[t]
    first = tf.where(tf.range(states) < 2, at[0], IMPOSSIBLE)
    _, last = tf.while_loop(lambda t, _: t < steps, step, (1, first), maximum_iterations=steps - 1)
    length = tf.reduce_sum(tf.cast(texts >= 0, tf.int32), axis=1)
    ends = tf.stack([2 * length, tf.maximum(2 * length - 1, 0)], axis=1)
    ends = tf.gather(last, ends, batch_dims=1)  # [n, 2]: after the last blank, after the last class
    ends = tf.where(tf.stack([length < 0, length == 0], axis=1), IMPOSSIBLE, ends)  # of "" there is one
    return -tf.reduce_logsumexp(ends, axis=1)


def greedy_decode(logits):
    """The text of the most probable path: {"ids": int32 [n, steps], padded by -1; "log_probability": float32
    [n], of that path}."""
    log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    blank = log_p.shape[2] - 1
    path = tf.argmax(log_p, axis=2, output_type=tf.int32)  # [n, steps]
    before = tf.pad(path[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
    kept = (path != blank) & (path != before)
    order = tf.argsort(tf.where(kept, 0, 1), axis=1, stable=True)  # those that are kept, then the others
    ids = tf.gather(tf.where(kept, path, -1), order, batch_dims=1)
    return {"ids": ids, "log_probability": tf.reduce_sum(tf.reduce_max(log_p, axis=2), axis=1)}


def reads_alike(ids, texts):
    """bool [n]: whether two paddings by -1, of any widths, are of the same text."""
    width = max(ids.shape[1], texts.shape[1])
    ids, texts = (tf.pad(x, [[0, 0], [0, width - x.shape[1]]], constant_values=-1) for x in (ids, texts))
    return tf.reduce_all(ids == texts, axis=1)
