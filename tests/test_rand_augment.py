"""RandAugment and TrivialAugment against Pillow and explicit matrices; eagerly, in tf.data, compiled."""
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from pipeline import geometry, rand_augment
from pipeline.rand_augment import NAMES, Policy, apply_policy, draw_policy, policy_maps

SEED = tf.constant([1, 2], tf.int64)
RAND, TRIVIAL = Policy("randaugment"), Policy("trivial")
GEOMETRIC = ["shear_x", "shear_y", "translate_x", "translate_y", "rotate"]
BLENDS = dict(brightness=ImageEnhance.Brightness, color=ImageEnhance.Color,
              contrast=ImageEnhance.Contrast, sharpness=ImageEnhance.Sharpness)
# Of RandAugment and of TrivialAugment Wide, the strength of each of the 31 bins; +- those of SIGNED.
STEP = np.arange(31) / 30
TABLES = {"randaugment": dict(
    shear_x=0.3 * STEP, shear_y=0.3 * STEP, translate_x=150 / 331 * STEP,
    translate_y=150 / 331 * STEP, rotate=30 * STEP, brightness=0.9 * STEP, color=0.9 * STEP,
    contrast=0.9 * STEP, sharpness=0.9 * STEP, posterize=4 * STEP, solarize=256 * STEP),
    "trivial": dict(
    shear_x=0.99 * STEP, shear_y=0.99 * STEP, translate_x=32 / 112 * STEP,
    translate_y=32 / 112 * STEP, rotate=135 * STEP, brightness=0.99 * STEP, color=0.99 * STEP,
    contrast=0.99 * STEP, sharpness=0.99 * STEP, posterize=6 * STEP, solarize=256 * STEP)}
eagerly = apply_policy.python_function
SIGNED = [*GEOMETRIC, *BLENDS]


def smooth_images(n, h=30, w=26, c=3, seed=0):
    """uint8; some are pale, so that stretching them shows, and one is of a single level."""
    random = np.random.default_rng(seed).normal(size=(n, h, w, c))
    images = scipy.ndimage.gaussian_filter(random, (0, 1.5, 1.5, 0))
    images = 120 + images / images.std() * np.linspace(10, 80, n)[:, None, None, None]
    images[0] = 77
    return images.clip(0, 255).astype(np.uint8)


def plan_of(op, strength):
    return {"op": tf.constant(op, tf.int32), "strength": tf.constant(strength, tf.float32)}


def modes(images, plan):
    """apply_policy's results eagerly, inside tf.data, and compiled."""
    yield eagerly(tf.constant(images), plan).numpy()
    yield next(iter(tf.data.Dataset.from_tensors((images, plan)).map(eagerly))).numpy()
    yield apply_policy(tf.constant(images), plan).numpy()


def pillow(image, name, strength):
    """One operation of one image."""
    picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    if name in BLENDS:
        picture = BLENDS[name](picture).enhance(1 + strength)
    elif name == "posterize":
        picture = ImageOps.posterize(picture, 8 - round(strength))
    elif name == "solarize":
        picture = ImageOps.solarize(picture, 256 - strength)
    elif name == "autocontrast":
        picture = ImageOps.autocontrast(picture)
    elif name == "equalize":
        picture = ImageOps.equalize(picture)
    return np.asarray(picture).reshape(image.shape)


def strengths(name, n):
    """Of n images: from none to all of both tables, both signs."""
    table = np.concatenate([TABLES[kind].get(name, [0.0]) for kind in TABLES])
    drawn = np.random.default_rng(0).choice(table, n)
    drawn[:2] = 0, table.max()
    return drawn * (np.where(np.arange(n) % 2, -1, 1) if name in SIGNED else 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_is_pillows(channels):
    """All in one batch; the geometric ones leave the pixels to the warp."""
    images = np.tile(smooth_images(16, c=channels), (len(NAMES), 1, 1, 1))
    op = np.repeat(np.arange(len(NAMES)), 16)
    amounts = np.concatenate([strengths(name, 16) for name in NAMES])
    expected = np.stack([pillow(image, NAMES[number], amount) for image, number, amount
                         in zip(images, op, amounts)]).astype(int)
    for number, name in enumerate(NAMES):
        same = name in ["identity", *GEOMETRIC] or (name == "color" and channels == 1)
        assert (np.abs(expected - images)[op == number].max() > 10) != same
    first, *others = modes(images, plan_of(op[:, None], amounts[:, None]))
    difference = np.abs(first - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01, (difference > 0).mean()
    assert all((other == first).all() for other in others)


def test_small_and_uneven_histograms_are_equalised_as_pillow_does():
    random = np.random.default_rng(3)
    images = np.stack([random.choice(levels, (16, 20, 1)) for levels in
                       ([3], [0, 255], [7, 8], [0, 1, 2, 200], list(range(256)))]).astype(np.uint8)
    images[1, 0, :3], images[2] = 100, np.where(np.arange(320).reshape(16, 20, 1) < 300, 7, 8)
    expected = np.stack([pillow(image, "equalize", 0) for image in images])
    result = eagerly(tf.constant(images), plan_of([[NAMES.index("equalize")]] * 5, [[0.0]] * 5))
    np.testing.assert_array_equal(result, expected)


def test_a_batch_of_all_operations_in_their_order():
    images = smooth_images(100, 20, 20)
    plan = draw_policy(SEED, 100, 20, Policy("randaugment", magnitude=15))
    expected = []
    for image, ops, amounts in zip(images, plan["op"].numpy(), plan["strength"].numpy()):
        for op, strength in zip(ops, amounts):
            image = pillow(image, NAMES[op], float(strength))
        expected.append(image)
    first, *others = modes(images, plan)
    difference = np.abs(first.astype(int) - expected)
    # A level less going into a contrast stretch or an equalisation is more coming out.
    assert (difference > 1).mean() < 0.01 and difference.mean() < 0.1, difference.mean()
    assert all((other == first).all() for other in others)
    backwards = {name: value[:, ::-1] for name, value in plan.items()}
    assert (apply_policy(tf.constant(images), backwards).numpy() != first).mean() > 0.02


def matrix(name, strength):
    """The map of an operation, 3 x 3, of shares of the side."""
    moves = dict(shear_x=(0, 1, strength), shear_y=(1, 0, strength), translate_x=(0, 2, -strength),
                 translate_y=(1, 2, -strength))
    result = np.eye(3)
    if name in moves:
        row, column, value = moves[name]
        result[row, column] = value
    elif name == "rotate":
        cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
        result[:2, :2] = [[cos, -sin], [sin, cos]]
        result[:2, 2] = 0.5 - result[:2, :2] @ [0.5, 0.5]
    return result


def test_maps_are_the_matrices_of_the_operations_in_their_order():
    plan = draw_policy(SEED, 300, 112, Policy("randaugment", n_ops=3, magnitude=20))
    expected = []
    for ops, amounts in zip(plan["op"].numpy(), plan["strength"].numpy()):
        whole = np.eye(3)
        for op, strength in zip(ops, amounts):
            # The point that the last operation shows is looked up in what the others made.
            whole = whole @ matrix(NAMES[op], strength)
        expected.append(whole[:2])
    np.testing.assert_allclose(policy_maps(plan), expected, atol=2e-6)


@pytest.mark.parametrize("name, strength", [("translate_x", 0.25), ("translate_y", -0.25),
                                            ("rotate", 90.0), ("shear_x", 0.5)])
def test_maps_move_the_image_as_pillow_does(name, strength):
    image = smooth_images(2, 24, 24, 1)[1]
    maps = policy_maps(plan_of([[NAMES.index(name)]], [[strength]]))
    result = geometry.warp(tf.constant(image[None]), maps, 24).numpy()[0, ..., 0]
    data = {"translate_x": (1, 0, -6, 0, 1, 0), "translate_y": (1, 0, 0, 0, 1, 6),
            "shear_x": (1, 0.5, 0, 0, 1, 0)}
    picture = Image.fromarray(image[..., 0])
    expected = np.asarray(picture.rotate(90) if name == "rotate" else picture.transform(
        (24, 24), Image.Transform.AFFINE, data[name], Image.Resampling.BILINEAR)).astype(int)
    inside = np.asarray(Image.new("L", (24, 24), 1).transform(
        (24, 24), Image.Transform.AFFINE, data.get(name, (1, 0, 0, 0, 1, 0)))) > 0
    assert inside.mean() > 0.5 and np.abs(result - expected)[inside].max() <= 1


def drawn(policy, n=20000, size=112):
    plan = draw_policy(SEED, n, size, policy)
    return plan["op"].numpy(), plan["strength"].numpy()


@pytest.mark.parametrize("policy", [RAND, TRIVIAL, Policy("randaugment", 3, 30)])
def test_operations_are_equally_likely_and_independent(policy):
    op, _ = drawn(policy)
    assert op.shape == (20000, policy.n_ops if policy.kind == "randaugment" else 1)
    for column in op.T:
        assert scipy.stats.chisquare(np.bincount(column, minlength=14)).pvalue > 1e-3
    if op.shape[1] > 1:
        pairs = np.bincount(op[:, 0] * 14 + op[:, 1], minlength=196)
        assert scipy.stats.chisquare(pairs).pvalue > 1e-3


@pytest.mark.parametrize("policy", [RAND, TRIVIAL])
def test_strengths_are_the_tables_and_signs_are_fair(policy):
    op, strength = drawn(policy)
    for number, name in enumerate(NAMES):
        mine = strength[op == number]
        table = TABLES[policy.kind].get(name, np.zeros(31))
        bins = np.abs(np.abs(mine)[:, None] - table).argmin(axis=1)
        np.testing.assert_allclose(np.abs(mine), table[bins], atol=2e-5)
        if table.any():
            if policy.kind == "trivial":
                assert scipy.stats.chisquare(np.bincount(bins, minlength=31)).pvalue > 1e-3, name
            else:
                assert (bins == 9).all()
        minus = (mine < 0).sum()
        if name in SIGNED:
            assert scipy.stats.binomtest(int(minus), int((mine != 0).sum())).pvalue > 1e-3, name
        else:
            assert minus == 0


def test_magnitude_0_is_the_identity_but_for_the_two_without_a_strength():
    plan = draw_policy(SEED, 200, 26, Policy("randaugment", n_ops=1, magnitude=0))
    identity = np.tile([[1, 0, 0], [0, 1, 0]], (200, 1, 1))
    np.testing.assert_allclose(policy_maps(plan), identity, atol=1e-6)
    images = smooth_images(200)
    changed = (eagerly(tf.constant(images), plan).numpy() != images).any((1, 2, 3))
    assert set(plan["op"].numpy()[changed, 0]) == {NAMES.index("autocontrast"), NAMES.index("equalize")}


def test_a_plan_is_its_seed_and_step_alone_and_can_be_sliced():
    plan = draw_policy(SEED, 64, 26, RAND)
    mapped = next(iter(tf.data.Dataset.from_tensors(SEED).map(lambda s: draw_policy(s, 64, 26, RAND))))
    other = draw_policy(tf.constant([1, 3], tf.int64), 64, 26, RAND)
    for name in plan:
        assert (plan[name].numpy() == mapped[name].numpy()).all()
        assert (plan[name].numpy() != other[name].numpy()).any()
    images = tf.constant(smooth_images(64))
    half = {name: value[32:] for name, value in plan.items()}
    assert (eagerly(images[32:], half).numpy() == eagerly(images, plan).numpy()[32:]).all()
    assert (policy_maps(half).numpy() == policy_maps(plan).numpy()[32:]).all()


def test_no_policy_and_impossible_ones():
    assert draw_policy(SEED, 4, 26, Policy()) == {}
    with pytest.raises(ValueError, match="randaugment and trivial"):
        Policy("autoaugment")
    with pytest.raises(ValueError, match="0..30"):
        Policy("randaugment", magnitude=31)
    with pytest.raises(ValueError, match="0 operations"):
        Policy("randaugment", n_ops=0)


def test_the_largest_uniform_number_is_an_operation(monkeypatch):
    monkeypatch.setattr(rand_augment, "uniform", lambda seed, purpose, shape: tf.fill(shape, np.float32(
        1 - 2.0**-24)))
    op, strength = drawn(TRIVIAL, 2)
    assert (op == 13).all() and (strength == 0).all()
