"""Numbers that finished runs depend on: a change here breaks the resuming of all of them.

Recorded once (TensorFlow 2.21, NumPy 2.4); never recompute them to make a test pass.
"""
import numpy as np
import tensorflow as tf

from pipeline.geometry import Geometry, draw_maps
from pipeline.order import epoch_order
from pipeline.randomness import beta, uniform
from records.splits import share_rare_classes, split_by_group


def test_order():
    labels = np.array([0] * 50 + [1] * 7 + [2] * 30)
    order = epoch_order(labels, 10, 5, tf.constant(3, tf.int64)).numpy()
    assert order[:12].tolist() == [83, 17, 34, 41, 14, 33, 64, 60, 42, 35, 37, 4]


def test_draws():
    assert uniform([1, 2], "rotate", [4]).numpy().tolist() == [
        0.45330095291137695, 0.4150615930557251, 0.5186767578125, 0.8428746461868286]
    np.testing.assert_allclose(beta([1, 2], "mixup", [4], 0.2), [
        0.9983966946601868, 0.008584355004131794, 0.9847872257232666, 0.2905215322971344], rtol=1e-6)
    geometry = Geometry(10, 5, 0.1, 0.1, (0.8, 0.9), (0.8, 1.25))
    np.testing.assert_allclose(draw_maps(tf.constant([1, 2]), 1, geometry), [
        [[0.858176, 0.071230, -0.026563], [-0.013990, 0.800622, 0.159034]]], atol=2e-6)


def test_rare_class_draw():
    labels = np.array(["a"] * 300 + ["b"])
    split = share_rare_classes(split_by_group(["t"] * 300 + ["v"], ["v"]), labels, 1)
    assert np.flatnonzero(split == "moved_to_val").tolist() == [
        38, 74, 90, 91, 97, 99, 107, 113, 122, 130, 165, 186, 196, 210, 231, 254, 270, 291, 292, 296]
