"""CenterNet's training step: its losses against NumPy, on two devices, compiled, in mixed precision."""
import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.centernet import build_centernet
from models.centernet_targets import centernet_targets
from training.centernet_step import CenterNetLoss, TrainedCenterNet
from training.optimizers import make_optimizer
from tests.helpers import run_module

SIDE, ROOM = 64, 6


def small(n_classes=5, architecture="pyramid", n_heatmaps=1, seed=1, dropout=0.0):
    keras.utils.set_random_seed(seed)
    pyramid = dict(backbone="wide_resnet10_2", stem_stride=2, pyramid_channels=8, head_channels=8)
    return build_centernet(
        architecture, channels=3, n_heatmaps=n_heatmaps, n_classes=n_classes, class_channels=8,
        class_dropout=dropout, cls=TrainedCenterNet, **(pyramid if architecture == "pyramid" else {}))


def batch(b=4, n_classes=5, seed=0, kernel="3x3", n_heatmaps=1):
    """Crops with 0, some and all of the characters there is room for; some centres at the border."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(b, SIDE, SIDE, 3)).astype(np.float32)
    corner = random.uniform(0, SIDE - 2, (b, ROOM, 2))
    boxes = np.concatenate([corner, np.minimum(corner + random.uniform(2, 30, (b, ROOM, 2)), SIDE)], 2)
    boxes[:, 0] = [0, 0, 3, 3]
    classes = random.integers(0, n_classes, (b, ROOM)).astype(np.int32)
    count = np.array([0, ROOM, 3, 1, 2, 5, 4, 6][:b], np.int32)
    targets = centernet_targets(tf.constant(boxes, tf.float32), tf.constant(classes),
                                tf.constant(count), side=SIDE, kernel=kernel, n_heatmaps=n_heatmaps)
    return tf.constant(images), targets | {"left_out": tf.constant([0, 2, 0, 0, 0, 0, 1, 0][:b])}


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def numpy_losses(model, images, targets, loss):
    """The definition, character by character."""
    stacks = [{k: v.numpy().astype(np.float64) for k, v in maps.items()}
              for maps in model(images, training=True)]
    t = {k: v.numpy() for k, v in targets.items()}
    n = t["mask"].sum()
    parts = dict(heatmap=0.0, size=0.0, offset=0.0)
    for maps in stacks:
        p, y = sigmoid(maps["heatmap"]), t["heatmap"].astype(np.float64)
        if loss.heatmap == "bce":
            parts["heatmap"] += -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        else:
            positive = y == 1
            parts["heatmap"] -= ((1 - p) ** 2 * np.log(p))[positive].sum() / n
            parts["heatmap"] -= ((1 - y) ** 4 * p ** 2 * np.log(1 - p))[~positive].sum() / n
        for b, m in np.argwhere(t["mask"]):
            r, c = t["cells"][b, m]
            for name, weight in (("size", loss.size_weight), ("offset", loss.offset_weight)):
                parts[name] += weight * np.abs(maps[name][b, r, c] - t[name][b, m]).sum() / n
    parts = {name: value / len(stacks) for name, value in parts.items()}
    if model.n_classes:
        kernel, bias = [w.numpy().astype(np.float64) for w in model.class_conv.weights]
        features = np.pad(stacks[-1]["features"], [(0, 0), (1, 1), (1, 1), (0, 0)])
        grid, total, cells = SIDE // 4, 0.0, 0
        for b, m in np.argwhere(t["mask"]):
            for r in range(t["cells"][b, m, 0] - 1, t["cells"][b, m, 0] + 2):
                for c in range(t["cells"][b, m, 1] - 1, t["cells"][b, m, 1] + 2):
                    if 0 <= r < grid and 0 <= c < grid:
                        window = features[b, r:r + 3, c:c + 3]
                        embedding = np.maximum(np.einsum("ijc,ijcd->d", window, kernel) + bias, 0)
                        logits = (embedding @ model.class_kernel.numpy().astype(np.float64)
                                  + model.class_bias.numpy())
                        total += np.log(np.exp(logits).sum()) - logits[t["class_ids"][b, m]]
                        cells += 1
        parts["class"] = loss.class_weight * total / max(cells, 1)
    return parts


@pytest.mark.parametrize("architecture, kernel, heatmap, n_heatmaps, n_classes", [
    ("pyramid", "3x3", "bce", 1, 5), ("pyramid", "gaussian", "focal", 1, 0),
    ("hourglass_small", "gaussian", "focal", 3, 0)])
def test_losses_equal_numpy(architecture, kernel, heatmap, n_heatmaps, n_classes):
    model = small(n_classes, architecture, n_heatmaps)
    loss = CenterNetLoss(heatmap, class_weight=0.3, size_weight=0.2, offset_weight=0.7)
    model.set_loss(loss)
    images, targets = batch(n_classes=max(n_heatmaps, n_classes), kernel=kernel,
                            n_heatmaps=n_heatmaps)
    for layer in model.submodules:  # statistics of the batch do not depend on who looks
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    ours = {k: float(v) for k, v in model.losses_of(images, targets, model._counts(targets)).items()}
    assert ours == pytest.approx(numpy_losses(model, images, targets, loss), rel=1e-4)


def trained(model, steps, images, targets, xla=False, epochs=1):
    model.set_loss(CenterNetLoss())
    model.set_step(make_optimizer("adamw", 3e-3, weight_decay=1e-4), xla=xla)
    data = tf.data.Dataset.from_tensors((images, targets)).repeat()
    return model.fit(data, epochs=epochs, steps_per_epoch=steps, verbose=0).history


@pytest.mark.parametrize("policy, xla", [("float32", False), ("mixed_bfloat16", False),
                                         ("mixed_float16", True)])
def test_a_step_trains_with_4212_classes(policy, xla):
    keras.mixed_precision.set_global_policy(policy)
    try:
        images, targets = batch(n_classes=4212)
        model = small(4212, dropout=0.5)
        before = [w.copy() for w in model.get_weights()]
        history = trained(model, 3, images, targets, xla=xla)
        assert np.isfinite(history["loss"]).all() and history["left_out"] == [6]  # 2 a step
        changed = [np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights())]
        assert np.mean(changed) > 0.9
        assert all(np.isfinite(w).all() for w in model.get_weights())
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_a_fixed_batch_is_learned():
    images, targets = batch()
    losses = trained(small(), 15, images, targets, epochs=5)["class"]
    assert losses[4] < 0.4 * losses[0]


def test_empty_crops_are_legal():
    images, targets = batch(b=1)  # the first has no character
    history = trained(small(), 2, images, targets)
    assert np.isfinite(history["loss"]).all() and history["class"] == [0]
    assert history["size"] == history["offset"] == [0]


TWO_DEVICES = """
import json, sys
import keras2
import numpy as np, tensorflow as tf
from training.devices import choose_strategy
strategy = choose_strategy(None, cpu_replicas=2)
from tensorflow import keras
from tests.test_centernet_step import batch, small
from training.centernet_step import CenterNetLoss
from training.optimizers import make_optimizer
images, targets = batch(b=8)
results = []
for scope, accumulate in ((strategy, 2), (tf.distribute.get_strategy(), 1)):
    with scope.scope():
        model = small()
        for layer in model.submodules:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.set_loss(CenterNetLoss())
        model.set_step(make_optimizer("sgd", 0.05), accumulate=accumulate)
    data = tf.data.Dataset.from_tensor_slices((images, targets)).repeat(3).batch(8, True)
    history = model.fit(data, epochs=1, verbose=0, shuffle=False).history
    results.append([{k: v[0] for k, v in history.items()},
                    [float(np.abs(w).sum()) for w in model.get_weights()]])
print(json.dumps(results))
"""


def test_two_devices_with_micro_batches_do_what_one_does():
    done = run_module("-c", TWO_DEVICES)
    assert done.returncode == 0, done.stderr[-3000:]
    (two, weights_two), (one, weights_one) = json.loads(done.stdout.splitlines()[-1])
    assert two == pytest.approx(one, rel=1e-4) and one["left_out"] == 9
    np.testing.assert_allclose(weights_two, weights_one, rtol=1e-4)
