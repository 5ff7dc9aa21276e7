"""The losses of CenterNet. Each is a sum, so that the caller can divide by counts over all devices.

Law and Deng, "CornerNet", 2018, arXiv:1808.01244 (focal loss); Zhou et al., "Objects as Points",
2019, arXiv:1904.07850 (L1 at the centres); binary cross-entropy on the heatmap and cross-entropy
over the classes at given centres as in the 5th place of Kuzushiji Recognition 2019.
"""
import tensorflow as tf


def heatmap_bce(logits, target):
    """Binary cross-entropy with soft targets, summed over cells and channels: float32 [b].

    logits: any float type, [b, h, w, k]. target: float32 [b, h, w, k], 0..1. At logits that equal
    the target's it is the target's entropy, not 0.
    """
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(target, logits), axis=[1, 2, 3])


def penalty_reduced_focal(logits, target, alpha=2.0, beta=4.0):
    """CornerNet's focal loss, summed over cells and channels: float32 [b].

    -(1 - p)^alpha log p where the target is 1, -(1 - target)^beta p^alpha log(1 - p) elsewhere,
    with p = sigmoid(logits). logits: any float type, [b, h, w, k]. target: float32 [b, h, w, k],
    0..1. Values and gradients are finite for any finite logit.
    """
    logits = tf.cast(logits, tf.float32)
    # -log p and -log(1 - p). The powers are exponentials of them, so that nothing takes log(0).
    miss, false = tf.nn.softplus(-logits), tf.nn.softplus(logits)
    positive = tf.exp(-alpha * false) * miss
    negative = (1 - target) ** beta * tf.exp(-alpha * miss) * false
    return tf.reduce_sum(tf.where(target == 1, positive, negative), axis=[1, 2, 3])


def masked_l1(predicted, target, mask):
    """The sum of |predicted - target| over the real characters: float32 [b].

    predicted: any float type, [b, m, 2]. target: float32 [b, m, 2]. mask: float32 [b, m], 1 or 0.
    """
    error = tf.abs(tf.cast(predicted, tf.float32) - target)
    return tf.reduce_sum(error * mask[:, :, None], axis=[1, 2])


def linear_cross_entropy(embedding, kernel, bias, labels, weights, chunk=1024):
    """Cross-entropy of a dense layer's softmax, without ever holding the logits of all rows: the
    sum over rows of weights * CE(softmax(embedding @ kernel + bias), labels), float32 scalar.

    The rows are taken in chunks; of each the loss and its gradients are computed at once and only
    those are kept, so that the memory is [chunk, C] + [d, C] instead of several [p, C].

    embedding: float16, bfloat16 or float32 [p, d]; the logits are multiplied in its dtype. kernel:
    [d, C]. bias: [C]. labels: int32 [p], 0..C-1. weights: float32 [p], a constant to gradients;
    where it is 0 the row is padding and its label is not looked at. chunk: rows, >= 1.
    Softmax, loss and accumulated gradients are float32. Pass kernel and bias in float32, not cast:
    gradients come back in the dtype of what was passed. First-order gradients only.
    Raises ValueError if p is not static or chunk < 1.
    """
    rows = embedding.shape[0]
    if rows is None or chunk < 1:
        raise ValueError("linear_cross_entropy needs a static number of rows and chunk >= 1, got "
                         f"an embedding of shape {embedding.shape} and chunk {chunk}")
    # Variables are read here: a function with its own gradient may only see tensors.
    embedding, kernel, bias = map(tf.convert_to_tensor, (embedding, kernel, bias))
    n_chunks = max(1, -(-rows // chunk))
    chunk = -(-rows // n_chunks)  # as even as they can be, so that little is padding
    labels = tf.where(weights > 0, labels, 0)

    def in_chunks(x):
        padding = [[0, n_chunks * chunk - rows]] + [[0, 0]] * (len(x.shape) - 1)
        return tf.reshape(tf.pad(x, padding), [n_chunks, chunk, *x.shape[1:]])

    @tf.custom_gradient
    def summed(embedding, kernel, bias):
        loss, *gradients = _walk(in_chunks(embedding), kernel, bias, in_chunks(labels),
                                 in_chunks(weights))
        gradients[0] = tf.reshape(gradients[0], [n_chunks * chunk, -1])[:rows]

        def gradient(upstream):
            return [tf.cast(upstream * g, x.dtype)
                    for g, x in zip(gradients, (embedding, kernel, bias))]
        return loss, gradient

    return summed(embedding, kernel, bias)


def _walk(embedding, kernel, bias, labels, weights):
    """Loss and its gradients for embedding [n, chunk, d], kernel and bias: all float32.

    labels, weights: [n, chunk]."""
    n_chunks, _, depth = embedding.shape
    n_classes = kernel.shape[1]
    dtype = embedding.dtype
    # float16 cannot hold the gradient of a softmax over many classes (the loss scale is not known
    # here), nor the sum of it over the rows: those two products are float32 then.
    wide = tf.float32 if dtype == tf.float16 else dtype
    narrow, wide_kernel, bias = (tf.cast(kernel, dtype), tf.cast(kernel, wide),
                                 tf.cast(bias, tf.float32))

    def step(i, loss, by_embedding, by_kernel, by_bias):
        x, weight = tf.gather(embedding, i), tf.gather(weights, i)  # [chunk, d], [chunk]
        logits = tf.cast(tf.matmul(x, narrow), tf.float32) + bias  # [chunk, C]
        # The operation that tf.nn.sparse_softmax_cross_entropy_with_logits differentiates: it
        # returns softmax - one-hot as well.
        losses, error = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=logits, labels=tf.gather(labels, i))
        error = error * weight[:, None]
        wide_error = tf.cast(error, wide)
        by_x = tf.matmul(wide_error, wide_kernel, transpose_b=True)  # [chunk, d]
        added = tf.matmul(tf.cast(x, wide), wide_error, transpose_a=True)  # [d, C]
        return (i + 1, loss + tf.reduce_sum(losses * weight),
                by_embedding.write(i, tf.cast(by_x, tf.float32)),
                by_kernel + tf.cast(added, tf.float32), by_bias + tf.reduce_sum(error, axis=0))

    rows = tf.TensorArray(tf.float32, n_chunks, element_shape=[embedding.shape[1], depth])
    _, loss, by_embedding, by_kernel, by_bias = tf.while_loop(
        lambda i, *_: i < n_chunks, step,
        (0, 0.0, rows, tf.zeros([depth, n_classes]), tf.zeros([n_classes])), parallel_iterations=1)
    return loss, by_embedding.stack(), by_kernel, by_bias
