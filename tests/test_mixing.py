"""Mixing against plain loops and SciPy's distributions; eagerly, in tf.data and compiled."""
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pipeline.mixing import KINDS, Mixing, draw_mixing, mix_images, mix_targets

SEED = tf.constant([1, 2], tf.int64)
FINE = 1_000_000  # px of a side at which rounding to pixels cannot be seen
ALL = Mixing(0.4, 1.0, 1.0, 1.0)
OPTIONS = {"mixup": Mixing(mixup=0.4), "cutmix": Mixing(cutmix=1.0), "ricap": Mixing(ricap=0.7),
           "icap": Mixing(icap=1.0, icap_p=0.5), "boxes": Mixing(cutmix=1.0, icap=1.0),
           "all": ALL, "batch": Mixing(ricap=1.0, per="batch")}


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and compiled."""
    yield function(*arguments)
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function)))
    yield tf.function(function, jit_compile=True)(*arguments)


def random_images(n=12, size=13, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels)).astype(np.uint8)


def random_targets(n=12, classes=9):
    """Multi-hot, some soft, one empty."""
    random = np.random.default_rng(1)
    targets = (random.random((n, classes)) < 0.3) * random.choice([1, 0.9], (n, 1))
    targets[3] = 0
    return targets.astype(np.float32)


def oracle(images, targets, plan, groups):
    """Mixed images and targets, pixel by pixel."""
    n, size, _, _ = images.shape
    mixed, mixed_targets = np.zeros(images.shape), np.zeros(targets.shape)
    for i in range(n):
        group = range(i // (n // groups) * (n // groups), (i // (n // groups) + 1) * (n // groups))
        ahead = lambda k: group[(group.index(i) + k) % len(group)]
        for y in range(size):
            for x in range(size):
                j, dx, dy = i, 0, 0
                if "window" in plan:
                    x0, y0, x1, y1 = plan["window"][i]
                    region = (x0 <= x < x1) + 2 * (y0 <= y < y1)
                    j = ahead(plan["source"][i][region])
                    dx, dy = plan["shift"][i][region] if "shift" in plan else (0, 0)
                mixed[i, y, x] += images[j, y + dy, x + dx]
                mixed_targets[i] += targets[j] / size**2
        if "share" in plan and plan["share"][i] != 1:
            share = plan["share"][i]
            assert np.abs(mixed[i] - images[i]).max() == 0  # no image is mixed in two ways
            mixed[i] = share * images[i] + (1 - share) * images[ahead(1)]
            mixed_targets[i] = share * targets[i] + (1 - share) * targets[ahead(1)]
    return mixed, mixed_targets


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("groups", [1, 3])
def test_images_and_targets_equal_the_loops(name, groups):
    images, targets = random_images(), random_targets()
    plan = draw_mixing(SEED, 12, 13, OPTIONS[name])
    expected = oracle(images, targets, {k: v.numpy() for k, v in plan.items()}, groups)
    assert np.abs(expected[0] - images).max() > 50
    both = lambda i, t, p: (mix_images(i, p, groups), mix_targets(t, p, 13, groups))
    for mixed, mixed_targets in modes(both, images, targets, plan):
        assert mixed.dtype == mixed_targets.dtype == tf.float32
        np.testing.assert_allclose(mixed, expected[0], atol=1e-4)
        np.testing.assert_allclose(mixed_targets, expected[1], atol=1e-6)
    rows = mix_images(images.reshape(12, 13, 39).astype(np.float32), plan, groups)
    np.testing.assert_allclose(rows, expected[0].reshape(12, 13, 39), atol=1e-4)


@pytest.mark.parametrize("groups", [2, 3, 4, 12])  # of 6, 4, 3 and 1
@pytest.mark.parametrize("name", ["all", "boxes"])
def test_a_group_alone_is_the_same_as_in_the_batch(name, groups):
    images, targets = random_images(), random_targets()
    plan = draw_mixing(SEED, 12, 13, OPTIONS[name])
    whole, whole_targets = mix_images(images, plan, groups), mix_targets(targets, plan, 13, groups)
    for part in np.split(np.arange(12), groups):
        own = {key: tf.gather(values, part) for key, values in plan.items()}
        assert (mix_images(images[part], own).numpy() == whole.numpy()[part]).all()
        assert (mix_targets(targets[part], own, 13).numpy() == whole_targets.numpy()[part]).all()


@pytest.mark.parametrize("kind", ["cutmix", "ricap", "icap"])
def test_targets_are_the_pixels_shown(kind):
    n, size = 64, 15
    plan = draw_mixing(SEED, n, size, Mixing(**{kind: 1.0}))
    numbers = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, size, size, 1))
    shown = mix_images(numbers, plan).numpy().astype(int).reshape(n, -1)
    counts = np.stack([np.bincount(image, minlength=n) for image in shown])
    targets = mix_targets(np.eye(n, dtype=np.float32), plan, size).numpy()
    assert (targets == counts.astype(np.float32) / np.float32(size**2)).all()
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    most = (counts > 0).sum(1).max()
    assert most == {"cutmix": 2, "ricap": 4, "icap": 4}[kind]


def test_mixed_targets_sum_to_one():
    targets = mix_targets(tf.eye(256), draw_mixing(SEED, 256, 112, ALL), 112).numpy()
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert (targets >= 0).all() and ((targets > 0).sum(1) <= 4).all()


def coordinates(n, size):
    """Images whose pixels hold their own x and y."""
    image = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)
    return np.repeat(image[None], n, axis=0).astype(np.uint8)


def test_icap_and_cutmix_keep_every_pixel_at_its_place():
    images = coordinates(64, 20)
    for kind in ("icap", "cutmix"):
        plan = draw_mixing(SEED, 64, 20, Mixing(**{kind: 1.0}))
        assert (mix_images(images, plan).numpy() == images).all()
    moved = mix_images(images, draw_mixing(SEED, 64, 20, Mixing(ricap=1.0))).numpy()
    assert (moved != images).any((1, 2, 3)).mean() > 0.9


def test_ricap_crops_each_quadrant_whole_and_anywhere():
    n, size = 20000, 20
    plan = draw_mixing(SEED, n, size, Mixing(ricap=1.0))
    split, shift = plan["window"].numpy()[:, 2:], plan["shift"].numpy()
    dither, places = np.random.default_rng(0).random((n, 2)), []
    for region in range(4):
        before = np.array([region & 1, region >> 1], bool)
        origin, length = np.where(before, 0, split), np.where(before, split, size - split)
        crop = origin + shift[:, region]  # where the crop begins in its image
        assert (crop >= 0).all() and (crop + length <= size).all()
        for axis in (0, 1):  # uniform among the whole pixels that are possible
            place = (crop + dither)[:, axis] / (size - length + 1)[:, axis]
            assert scipy.stats.kstest(place, "uniform").pvalue > 1e-3
            places.append(place)
    assert np.abs(np.corrcoef(places) - np.eye(8)).max() < 0.1  # the dither is common to all


@pytest.mark.parametrize("kind", ["ricap", "icap"])
@pytest.mark.parametrize("concentration", [0.5, 1.0, 2.0])
def test_split_distribution(kind, concentration):
    plan = draw_mixing(SEED, 20000, FINE, Mixing(**{kind: concentration}))
    window = plan["window"].numpy() / FINE
    assert (window[:, :2] == 0).all()
    for split in window[:, 2:].T:
        assert scipy.stats.kstest(split, "beta", (concentration, concentration)).pvalue > 1e-3
    assert abs(np.corrcoef(window[:, 2:].T)[0, 1]) < 0.03


def test_split_is_rounded_to_the_nearest_pixel():
    window = draw_mixing(SEED, 20000, 7, Mixing(icap=1.0))["window"].numpy()
    expected = np.array([0.5, 1, 1, 1, 1, 1, 1, 0.5]) / 7 * 20000
    for split in window[:, 2:].T:
        assert scipy.stats.chisquare(np.bincount(split, minlength=8), expected).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.5, 1.0])
def test_cutmix_distribution(concentration):
    n, random = 20000, np.random.default_rng(0)
    window = draw_mixing(SEED, n, FINE, Mixing(cutmix=concentration))["window"].numpy() / FINE
    side = np.sqrt(1 - random.beta(concentration, concentration, (n, 1)))
    centre = random.random((n, 2))
    expected = np.clip(np.hstack([centre - side / 2, centre + side / 2]), 0, 1)
    area = lambda box: (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    assert scipy.stats.ks_2samp(area(window), area(expected)).pvalue > 1e-3
    for k in range(4):
        assert scipy.stats.ks_2samp(window[:, k], expected[:, k]).pvalue > 1e-3
    free = ((window > 0) & (window < 1)).all(1)  # not clipped
    width, height = (window[free, 2:] - window[free, :2]).T
    np.testing.assert_allclose(width, height, atol=3 / FINE)
    assert abs(np.corrcoef((window[free, :2] + window[free, 2:]).T)[0, 1]) < 0.05
    window = draw_mixing(SEED, n, 7, Mixing(cutmix=concentration))["window"].numpy()
    for axis in (0, 1):  # whole pixels, nearest: as far from one border as from the other
        low, high = window[:, axis], 7 - window[:, axis + 2]
        assert scipy.stats.chi2_contingency([np.bincount(low, minlength=8) + 1,
                                             np.bincount(high, minlength=8) + 1]).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.5, 1.0, 2.0])
def test_mixup_distribution(concentration):
    plan = draw_mixing(SEED, 20000, 8, Mixing(mixup=concentration))
    assert list(plan) == ["share"]
    assert scipy.stats.kstest(plan["share"], "beta", (concentration, concentration)).pvalue > 1e-3


def kinds_of(plan):
    """The kind of each image of a plan of ALL, 4 for none: by what it does."""
    source = plan["source"].numpy()
    moved = (plan["shift"].numpy() != 0).any((1, 2))
    return np.select([plan["share"].numpy() != 1, source[:, 0] == 3, source[:, 3] == 1],
                     [0, np.where(moved, 2, 3), 1], 4)


@pytest.mark.parametrize("p, expected", [((None,) * 4, (0.25,) * 4), ((0.1, 0.2, 0.3, 0.2),) * 2,
                                         ((0.5, None, 0.1, None), (0.5, 0.2, 0.1, 0.2))])
def test_kinds_by_probability(p, expected):
    options = Mixing(*[2.0] * 4, *p)
    np.testing.assert_allclose(options.probabilities(), expected, atol=1e-9)
    plan = draw_mixing(SEED, 10000, FINE, options)
    counts = np.bincount(kinds_of(plan), minlength=5)
    expected = np.array([*expected, 1 - sum(expected)])
    assert counts[expected < 1e-9].sum() == 0
    counts, expected = counts[expected >= 1e-9], expected[expected >= 1e-9]
    assert scipy.stats.chisquare(counts, expected / expected.sum() * 10000).pvalue > 1e-3


def test_an_image_that_is_not_mixed_stays():
    options = Mixing(0.4, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1)
    images, plan = random_images(200, 8, 1), draw_mixing(SEED, 200, 8, options)
    none = (mix_images(images, plan).numpy() == images).all((1, 2, 3))
    assert 0.5 < none.mean() < 0.7
    assert (mix_targets(tf.eye(200), plan, 8).numpy()[none] == np.eye(200)[none]).mean() > 0.99


def test_per_batch_all_are_mixed_alike_and_each_batch_its_own_way():
    seen = []
    draw = tf.function(lambda seed: draw_mixing(seed, 3, FINE, Mixing(*[2.0] * 4, per="batch")))
    for step in range(400):
        plan = draw(tf.constant([1, step], tf.int64))
        assert all((values.numpy() == values.numpy()[:1]).all() for values in plan.values())
        seen.append(kinds_of(plan)[0])
    assert scipy.stats.chisquare(np.bincount(seen, minlength=4)).pvalue > 1e-3


def test_plans_are_functions_of_seed_and_step():
    draw = lambda seed: draw_mixing(seed, 50, 20, ALL)
    eager, again, other = draw(SEED), draw(SEED), draw([1, 3])
    mapped = next(iter(tf.data.Dataset.from_tensors(SEED).map(draw)))
    for name, values in eager.items():
        assert values.shape == mapped[name].shape and values.shape[0] == 50
        assert (values.numpy() == again[name].numpy()).all()
        assert (values.numpy() == mapped[name].numpy()).all()
        assert (values.numpy() != other[name].numpy()).any()


def test_what_is_not_used_costs_nothing():
    images, targets = random_images(), random_targets()
    for options in (Mixing(), Mixing(icap=1.0, icap_p=0.0)):
        plan = draw_mixing(SEED, 12, 13, options)
        assert plan == {}
        assert (mix_images(images, plan).numpy() == images).all()
        assert mix_targets(targets, plan, 13) is targets
    assert set(draw_mixing(SEED, 4, 9, Mixing(icap=1.0, cutmix=1.0))) == {"window", "source"}
    assert set(draw_mixing(SEED, 4, 9, ALL)) == {"share", "window", "source", "shift"}


@pytest.mark.parametrize("options, message", [
    (dict(per="epoch"), "per 'image' or per 'batch', not per 'epoch'"),
    (dict(mixup=-0.2), "mixup=-0.2"),
    (dict(icap=1.0, icap_p=1.5), "icap_p=1.5"),
    (dict(icap_p=0.5), "give icap a concentration"),
    (dict(icap=1.0, mixup=0.2, icap_p=0.7, mixup_p=0.6), "add up to 1.3"),
    (dict(icap=1.0, mixup=0.2, ricap=1.0, icap_p=1.0), "nothing for mixup, ricap"),
])
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mixing(**options)


def test_tenths_add_up_to_one():
    assert sum(Mixing(*[1.0] * 4, 0.1, 0.2, 0.3, 0.4).probabilities()) == pytest.approx(1)
    assert len(KINDS) == len(Mixing().probabilities())
