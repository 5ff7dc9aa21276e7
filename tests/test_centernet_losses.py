"""CenterNet's losses against float64 NumPy: values, gradients, extremes, mixed precision."""
import numpy as np
import pytest
import tensorflow as tf

from models.centernet_losses import (heatmap_bce, linear_cross_entropy, masked_l1,
                                     penalty_reduced_focal)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce_oracle(x, y):
    p = sigmoid(x)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=(1, 2, 3))


def focal_oracle(x, y, alpha=2.0, beta=4.0):
    p = sigmoid(x)
    positive = -(1 - p) ** alpha * np.log(p)
    negative = -(1 - y) ** beta * p ** alpha * np.log(1 - p)
    return np.where(y == 1, positive, negative).sum(axis=(1, 2, 3))


def finite_differences(function, x, step=1e-5):
    """Gradient of the sum of `function` at x, by central differences in float64."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        gradient[at] = (function(up) - function(down)).sum() / (2 * step)
    return gradient


def value_and_gradient(loss, x, *others, compiled):
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x, *others)
        return value, tape.gradient(value, x)
    return (tf.function(run, jit_compile=True) if compiled else run)(tf.constant(x))


def maps(seed):
    generator = np.random.default_rng(seed)
    target = generator.uniform(0, 0.99, (3, 4, 5, 2))
    target[generator.random(target.shape) < 0.2] = 1
    target[generator.random(target.shape) < 0.3] = 0
    target[2] = 0  # an empty crop
    return generator.normal(0, 3, target.shape), target


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("loss, oracle", [
    (heatmap_bce, bce_oracle), (penalty_reduced_focal, focal_oracle),
    (lambda x, y: penalty_reduced_focal(x, y, 1.5, 3.0),
     lambda x, y: focal_oracle(x, y, 1.5, 3.0))])
def test_heatmap_losses(loss, oracle, compiled):
    x, y = maps(0)
    value, gradient = value_and_gradient(loss, np.float32(x), np.float32(y), compiled=compiled)
    assert value.shape == [3] and value.dtype == tf.float32
    np.testing.assert_allclose(value, oracle(x, y), rtol=1e-5)
    np.testing.assert_allclose(gradient, finite_differences(lambda x: oracle(x, y), x),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("loss", [heatmap_bce, penalty_reduced_focal])
def test_heatmap_losses_at_extreme_logits(loss, dtype, compiled):
    x = np.reshape(np.tile([-100, -30, 0, 30, 100], 3), (1, 3, 5, 1)).astype(dtype)
    y = np.reshape(np.repeat(np.float32([0, 0.5, 1]), 5), (1, 3, 5, 1))
    value, gradient = value_and_gradient(loss, x, y, compiled=compiled)
    assert gradient.dtype == dtype
    if loss is heatmap_bce:
        slope = sigmoid(x.astype(float)) - y
        want = 3 * (130 + np.log(2))  # of each target: two logits on the wrong side, or half of all
    else:  # only what is wrong counts: (1 - target)^4 * |x|, and a quarter at p = 0.5
        want = (1 + 0.5 ** 4 + 1) * (130 + 0.25 * np.log(2))
        slope = np.zeros((1, 3, 5, 1))
        slope[0, 0, 3:, 0], slope[0, 1, 3:, 0], slope[0, 2, :2, 0] = 1, 0.5 ** 4, -1
        at_zero = 0.25 * np.log(2) + 0.125  # d/dx of p^2 softplus(x)
        slope[0, :, 2, 0] = at_zero, at_zero / 16, -at_zero
    np.testing.assert_allclose(value, [want], rtol=1e-5)
    tolerance = 2e-3 if dtype == np.float16 else 1e-5
    np.testing.assert_allclose(gradient, slope, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_masked_l1(compiled):
    generator = np.random.default_rng(2)
    predicted, target = generator.normal(size=(2, 3, 6, 2)).astype(np.float32)
    mask = np.float32(generator.random((3, 6)) < 0.5)
    mask[1] = 0
    value, gradient = value_and_gradient(masked_l1, predicted, target, mask, compiled=compiled)
    want, slope = np.zeros(3), np.zeros((3, 6, 2))
    for i, j, k in np.ndindex(3, 6, 2):
        want[i] += mask[i, j] * abs(float(predicted[i, j, k]) - float(target[i, j, k]))
        slope[i, j, k] = mask[i, j] * np.sign(predicted[i, j, k] - target[i, j, k])
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_array_equal(gradient, slope)


def classification(seed, rows, depth, n_classes):
    generator = np.random.default_rng(seed)
    embedding = generator.normal(size=(rows, depth))
    kernel, bias = generator.normal(size=(depth, n_classes)) / 2, generator.normal(size=n_classes)
    labels = generator.integers(0, n_classes, rows).astype(np.int32)
    weights = generator.choice([0, 0.5, 1, 2], rows)
    labels[weights == 0] = -1
    return embedding, kernel, bias, labels, weights


def classification_oracle(embedding, kernel, bias, labels, weights):
    """The loss and its gradients by a loop over rows, float64."""
    loss, by = 0.0, [np.zeros_like(embedding), np.zeros_like(kernel), np.zeros_like(bias)]
    for i in np.flatnonzero(weights):
        logits = embedding[i] @ kernel + bias
        exponents = np.exp(logits - logits.max())
        loss -= weights[i] * (logits[labels[i]] - logits.max() - np.log(exponents.sum()))
        error = exponents / exponents.sum()
        error[labels[i]] -= 1
        error *= weights[i]
        by[0][i] += kernel @ error
        by[1] += np.outer(embedding[i], error)
        by[2] += error
    return loss, by


def run_classification(arrays, dtype, chunk, compiled, upstream=1.0):
    embedding, kernel, bias, labels, weights = arrays
    kernel, bias = tf.Variable(kernel, dtype=tf.float32), tf.Variable(bias, dtype=tf.float32)
    weights = tf.constant(weights, tf.float32)

    def run(embedding):
        with tf.GradientTape() as tape:
            tape.watch(embedding)
            loss = linear_cross_entropy(embedding, kernel, bias, labels, weights, chunk)
            scaled = loss * upstream
        return loss, tape.gradient(scaled, [embedding, kernel, bias])
    run = run if compiled is None else tf.function(run, jit_compile=compiled)
    return run(tf.constant(embedding, dtype))


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("rows, chunk", [(23, 5), (20, 5), (7, 100), (9, 1)])
def test_linear_cross_entropy_is_exact(rows, chunk, compiled):
    arrays = classification(rows, rows, 6, 11)
    loss, gradients = run_classification(arrays, tf.float32, chunk, compiled, upstream=3.0)
    want, slopes = classification_oracle(*arrays)
    assert loss.shape == [] and loss.dtype == tf.float32
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    for got, slope in zip(gradients, slopes):
        np.testing.assert_allclose(got, 3 * slope, rtol=1e-4, atol=1e-5)


def test_the_oracle_of_linear_cross_entropy_has_the_right_gradients():
    arrays = classification(5, 4, 3, 5)
    _, slopes = classification_oracle(*arrays)
    for i, slope in enumerate(slopes):
        def of(x, i=i):
            return np.array(classification_oracle(*arrays[:i], x, *arrays[i + 1:])[0])
        np.testing.assert_allclose(finite_differences(of, arrays[i]), slope, atol=1e-8)


@pytest.mark.parametrize("dtype, tolerance", [(tf.float16, 2e-3), (tf.bfloat16, 2e-2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_linear_cross_entropy_in_mixed_precision(dtype, tolerance, compiled):
    """Large embeddings of one class: the kernel's gradient is beyond float16's 65,504."""
    embedding, kernel, bias, labels, weights = classification(6, 64, 8, 9)
    embedding, kernel = np.abs(embedding) * 1000 + 500, kernel / 1000
    labels[:] = np.where(weights > 0, 3, -1)
    embedding = tf.cast(embedding, dtype).numpy().astype(float)  # what the loss is given exactly
    arrays = embedding, kernel, bias, labels, weights
    loss, gradients = run_classification(arrays, dtype, 32, compiled)
    want, slopes = classification_oracle(*arrays)
    assert [g.dtype for g in gradients] == [dtype, tf.float32, tf.float32]
    assert np.abs(slopes[1]).max() > 65504 / 2
    np.testing.assert_allclose(loss, want, rtol=tolerance)
    for got, slope in zip(gradients, slopes):
        error = np.abs(np.float64(tf.cast(got, tf.float32)) - slope).max()
        assert error <= 2 * tolerance * np.abs(slope).max()


def test_small_float16_gradients_survive_until_the_loss_scale():
    """With 4,000 classes of equal logits the error of each is 2.5e-4, of the embedding 1e-8 or so:
    nothing in float16, and 3e-4 after a loss scale of 2^15."""
    embedding, bias = np.ones((4, 2)), np.zeros(4000)
    kernel = np.random.default_rng(7).normal(0, 1e-8, (2, 4000))
    arrays = embedding, kernel, bias, np.zeros(4, np.int32), np.ones(4)
    _, gradients = run_classification(arrays, tf.float16, 4, False, upstream=2.0 ** 15)
    _, slopes = classification_oracle(*arrays)
    assert np.abs(slopes[0]).max() < 2 ** -25
    np.testing.assert_allclose(gradients[0], slopes[0] * 2 ** 15, rtol=2e-2)


def test_linear_cross_entropy_never_holds_the_logits_of_all_rows():
    """Every tensor of the traced graph, loops and gradients included, is counted."""
    rows, depth, n_classes, chunk = 4096, 8, 3000, 256

    @tf.function
    def run(embedding, kernel, bias, labels, weights):
        with tf.GradientTape() as tape:
            tape.watch([embedding, kernel, bias])
            loss = linear_cross_entropy(embedding, kernel, bias, labels, weights, chunk)
        return tape.gradient(loss, [embedding, kernel, bias])
    graph = run.get_concrete_function(
        *(tf.TensorSpec(s, t) for s, t in [
            ([rows, depth], tf.float32), ([depth, n_classes], tf.float32),
            ([n_classes], tf.float32), ([rows], tf.int32), ([rows], tf.float32)])).graph
    graphs = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
    sizes = [t.shape.num_elements() or 0 for g in graphs for op in g.get_operations()
             for t in op.outputs if t.dtype == tf.float32]
    assert max(sizes) == chunk * n_classes


def test_linear_cross_entropy_refuses_what_it_cannot_chunk():
    with pytest.raises(ValueError, match="static number of rows and chunk >= 1"):
        linear_cross_entropy(tf.zeros([4, 2]), tf.zeros([2, 3]), tf.zeros(3), [0] * 4, [1.0] * 4, 0)
