"""The second level: its columns, which rows train, no image in its own rating, chunks, files."""
import dataclasses
import itertools
import json
import statistics

import lightgbm
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from inference import image_features as of_image
from inference.second_level import (SecondLevel, SecondLevelError, fit_second_level, label_frequency,
                                    lightgbm_settings)
from inference.second_level_features import EPSILON, feature_names, second_level_features
from inference.second_level_rows import (Draw, FirstLevel, count_rows, sparse_truth, stand_ins,
                                         training_sample)

N, K, M, F = 90, 20, 3, 2
NAMES = {"models": ["senet", "pnas-5", "se.101"], "image_columns": ["brightness", "seal"],
         "labels": [f"culture::{k}" if k < 8 else f"tag::{k}" for k in range(K)]}
GROUPS = np.array([0] * 8 + [1] * 12)
FOLDS = np.arange(N) % 3
QUICK = {**NAMES, "seed": 5, "parameters": {"min_child_samples": 5, "num_leaves": 7}, "rounds": 20,
         "early_stopping": 4, "num_threads": 1, "draw": Draw(max_rows=700, hard_from=0.2)}


def made(seed=0):
    """(probabilities float16 [M, N, K], truth [N, K], image_values [N, F])."""
    random = np.random.default_rng(seed)
    truth = random.random((N, K)) < 0.1
    shared = random.normal(size=(N, K)) + 1.5 * truth - 2
    logits = shared + random.normal(size=(M, N, K)) * [[[0.5]], [[1.0]], [[1.5]]]
    return ((1 / (1 + np.exp(-logits))).astype(np.float16), truth,
            random.random((N, F)).astype(np.float32))


def fitted_to(probabilities, truth, image_values, **options):
    return fit_second_level(probabilities, truth, FOLDS, image_values, GROUPS, **{**QUICK, **options})


@pytest.fixture(scope="module")
def data():
    return made()


@pytest.fixture(scope="module")
def fitted(data):
    return fitted_to(*data)


def plain_row(p, image, group, frequency):
    """A row of plain Python numbers by name, each column by its own formula."""
    eps, row = float(EPSILON), dict(p)
    for (a, x), (b, y) in itertools.combinations(p.items(), 2):
        row |= {f"{a}+{b}": x + y, f"{a}/{b}": x / (y + eps), f"{a}*{b}": x * y}
    for (a, x), (b, y), (c, z) in itertools.combinations(p.items(), 3):
        row |= {f"{a}+{b}+{c}": x + y + z, f"{a}/({b}+{c})": x / (y + z + eps), f"{a}*{b}*{c}": x * y * z}
    values = list(p.values())
    return row | {"mean": statistics.fmean(values), "median": statistics.median(values),
                  "std": statistics.pstdev(values), "max": max(values), "min": min(values), **image,
                  "group": group, "frequency": frequency}


@pytest.mark.parametrize("m", [1, 2, 3, 4, 8])
def test_columns_are_those_of_a_plain_loop(m):
    random, n = np.random.default_rng(m), 37
    probabilities = random.random((m, n)).astype(np.float32)
    probabilities[:, 0], probabilities[:, 1], probabilities[:, 2] = 0, 1, 0.25
    image_values = random.normal(size=(2, n)).astype(np.float32)
    groups, frequencies = random.integers(0, 3, n), random.random(n).astype(np.float32)
    models = [f"m{k}" for k in range(m)]
    names = feature_names(models, ["u", "v"])
    features = second_level_features(probabilities, image_values, groups, frequencies)
    assert features.dtype == np.float32 and features.shape == (len(names), n)
    assert len(names) == m + 3 * len(list(itertools.combinations(models, 2))) + 3 * len(
        list(itertools.combinations(models, 3))) + 5 + 2 + 2
    for r in range(n):
        row = plain_row(dict(zip(models, probabilities[:, r].tolist())),
                        dict(zip("uv", image_values[:, r].tolist())), groups[r], frequencies[r])
        assert list(row) == names
        np.testing.assert_allclose(features[:, r], list(row.values()), rtol=2e-5, atol=1e-7)
    for rows in ([5], [5, 6], slice(3, 30)):  # a row is the same in any company, to the last bit
        part = second_level_features(probabilities[:, rows], image_values[:, rows], groups[rows],
                                     frequencies[rows])
        assert np.array_equal(part, features[:, rows])


def test_names_that_cannot_be():
    assert len(feature_names([f"m{k}" for k in range(8)])) == 265 + 2
    for models, columns, says in [([], [], "empty"), (["a", "a"], [], "'a'"), (["a b"], [], "'a b'"),
                                  (["mean"], [], "'mean'"), (["a"], ["a"], "'a'"), (["a"], ["x,y"], "x,y"),
                                  ([3], [], "3"), (["a"], ["frequency"], "'frequency'")]:
        with pytest.raises(ValueError, match=says):
            feature_names(models, columns)


def test_stand_ins_are_of_each_run_one():
    random = np.random.default_rng(0)
    drawn = np.zeros(11)
    for _ in range(4000):
        places, runs = stand_ins(11, 4, random)
        assert runs.sum() == 11 and set(runs) <= {2, 3} and len(set(places.tolist())) == 4
        edges = np.cumsum([0, *runs])
        assert ((places >= edges[:-1]) & (places < edges[1:])).all()
        drawn[places] += runs
    assert np.abs(drawn / 4000 - 1).max() < 0.12  # the expected weight of every row is 1
    assert stand_ins(7, 7, random)[0].tolist() == list(range(7))
    assert all(len(part) == 0 for part in stand_ins(0, 0, random))


@pytest.mark.parametrize("positives, hard, easy, taken", [
    (10, 20, 30, (20, 30)), (10, 20, 300, (20, 70)), (10, 200, 300, (45, 45)), (10, 200, 5, (85, 5)),
    (10, 0, 500, (0, 90)), (10, 500, 0, (90, 0)), (98, 5, 5, (1, 1))])
def test_how_many_negatives_are_taken(positives, hard, easy, taken):
    assert Draw(max_rows=100).sizes(positives, hard, easy) == taken


def test_the_sample_is_of_the_rows_and_their_weights(data):
    probabilities, truth, image_values = data
    first = FirstLevel(probabilities, NAMES["models"], image_values, NAMES["image_columns"], GROUPS)
    draw, images = Draw(max_rows=400, hard_from=0.3, floor=0.1), np.flatnonzero(FOLDS != 1)
    csr, largest = sparse_truth(truth, N, K), probabilities.astype(np.float32).max(0)
    counts = count_rows(first, csr, draw, 1)
    kinds = [truth & (largest >= np.float32(0.1)), ~truth & (largest >= np.float32(0.3)),
             ~truth & (largest >= np.float32(0.1)) & (largest < np.float32(0.3))]
    assert np.array_equal(counts, np.stack([kind.sum(1) for kind in kinds], 1))
    frequency = label_frequency(csr, FOLDS != 1)
    np.testing.assert_allclose(frequency, truth[images].mean(0), rtol=1e-6)
    samples = [training_sample(first, csr, counts, images, frequency, draw, np.random.default_rng(3), size)
               for size in (1, 9000, 1 << 30)]
    for other in samples[1:]:
        for name in ("features", "target", "weights", "images"):
            assert np.array_equal(getattr(samples[0], name), getattr(other, name)), name
    sample, totals = samples[0], [int(kind[images].sum()) for kind in kinds]
    assert sum(totals) > 400 == len(sample.target) == sample.features.shape[1]
    # Which row a column of the sample is of: looked up by the probabilities of all models.
    of_row = {}
    for i, k in itertools.product(images, range(K)):
        of_row.setdefault((i, *probabilities[:, i, k].tolist()), k)
    weights = np.zeros(3)
    for column, target, weight, i in zip(sample.features.T, sample.target, sample.weights, sample.images):
        k = of_row[(i, *column[:M].tolist())]
        kind = [bool(kind[i, k]) for kind in kinds].index(True)
        assert target == truth[i, k] == (kind == 0) and (kind or weight == 1)
        assert column[-1] == frequency[k] and column[-2] == GROUPS[k]
        assert np.array_equal(column[-4:-2], image_values[i])
        weights[kind] += weight
    assert weights.tolist() == totals
    assert sample.target.sum() == totals[0] and (np.diff(sample.images) >= 0).all()


def test_chunks_and_ways_to_give_the_data_change_nothing(data, fitted):
    probabilities, truth, image_values = data
    second, expected = fitted
    indptr, indices = np.cumsum([0, *truth.sum(1)]), np.nonzero(truth)[1]
    out = np.full((N, K), np.nan, np.float32)
    again, rated = fitted_to([np.asfortranarray(model) for model in probabilities], (indptr, indices),
                             image_values, chunk_bytes=1, out=out)
    assert rated is out and np.array_equal(rated, expected)
    assert [a.model_to_string() for a in again.boosters] == [b.model_to_string() for b in second.boosters]
    tests = [second.predict(probabilities, image_values, chunk_bytes=size) for size in (1, 40_000, 1 << 30)]
    assert all(np.array_equal(tests[0], test) for test in tests[1:])
    half = second.predict(probabilities, image_values, np.zeros((N, K), np.float16))
    assert half.dtype == np.float16 and np.array_equal(half, tests[0].astype(np.float16))
    assert expected.dtype == tests[0].dtype == np.float32


def test_predictions_are_the_mean_of_the_boosters_on_the_same_columns(data, fitted):
    probabilities, truth, image_values = data
    second, out_of_fold = fitted
    by_booster = []
    for booster, frequency in zip(second.boosters, second.frequencies):
        features = second_level_features(probabilities.reshape(M, -1).astype(np.float32),
                                         np.repeat(image_values, K, 0).T, np.tile(GROUPS, N),
                                         np.tile(frequency, N))
        by_booster.append(booster.predict(np.ascontiguousarray(features.T)).reshape(N, K))
    np.testing.assert_allclose(second.predict(probabilities, image_values), np.mean(by_booster, 0), rtol=1e-6)
    for k in range(3):
        assert np.array_equal(out_of_fold[FOLDS == k], by_booster[k][FOLDS == k].astype(np.float32))
        np.testing.assert_allclose(second.frequencies[k], truth[FOLDS != k].mean(0), rtol=1e-6)
    assert second.boosters[0].feature_name() == second.features == feature_names(
        NAMES["models"], NAMES["image_columns"])


def test_it_learns_what_the_mean_does_not_tell():
    """One model is right about one group and another about the other."""
    random = np.random.default_rng(1)
    truth = random.random((N, K)) < 0.2
    good, noise = (truth * 0.4 + random.random((N, K)) * 0.6), random.random((N, K))
    probabilities = np.where(GROUPS == 0, [good, noise], [noise, good]).astype(np.float32)
    _, rated = fit_second_level(probabilities, truth, FOLDS, np.zeros((N, 0)), GROUPS, **{
        **QUICK, "models": ["a", "b"], "image_columns": [], "rounds": 60, "draw": Draw(max_rows=5000),
        "parameters": {"learning_rate": 0.2, "num_leaves": 15}})
    of = lambda values: average_precision_score(truth.ravel(), values.ravel())
    assert of(rated) > of(probabilities.mean(0)) + 0.1


def test_labels_of_a_fold_leave_its_own_probabilities(data, fitted):
    probabilities, truth, image_values = data
    _, before = fitted
    other = truth.copy()
    other[FOLDS == 1] = np.random.default_rng(8).random(((FOLDS == 1).sum(), K)) < 0.3
    second, after = fitted_to(probabilities, other, image_values)
    assert np.array_equal(after[FOLDS == 1], before[FOLDS == 1])
    assert not np.array_equal(after[FOLDS != 1], before[FOLDS != 1])


def test_noise_planted_in_each_image_cannot_be_learned():
    """A random number of each image tells its labels: learned by heart on what is trained on, and of
    no use out of fold."""
    random = np.random.default_rng(2)
    truth = np.repeat(random.random((N, 1)) < 0.5, K, 1)
    probabilities, image_values = np.full((M, N, K), 0.5, np.float32), random.random((N, F))
    second, rated = fitted_to(probabilities, truth, image_values, draw=Draw(), early_stopping=0, rounds=100)
    own = np.mean([roc_auc_score(truth[FOLDS != k, 0], SecondLevel(**{
        **vars(second), "boosters": [booster], "frequencies": second.frequencies[k:k + 1]}).predict(
            probabilities, image_values)[FOLDS != k, 0]) for k, booster in enumerate(second.boosters)])
    held_out = np.mean([roc_auc_score(truth[FOLDS == k, 0], rated[FOLDS == k, 0]) for k in range(3)])
    assert own > 0.95 and abs(held_out - 0.5) < 0.2


def test_no_fold_trains_or_stops_its_own_booster(data, monkeypatch):
    probabilities, truth, image_values = data
    image_values = image_values.copy()
    image_values[:, 0] = np.arange(N)  # tells in the sample which image a row is of
    seen, dataset, cv = [], lightgbm.Dataset, lightgbm.cv

    def spy(rows, *arguments, **options):
        seen.append(rows[:, -4].astype(int))
        return dataset(rows, *arguments, **options)

    def spy_on_cv(*arguments, folds, **options):
        rest, stop = folds[0]
        k = len(seen) - 1
        assert set(FOLDS[seen[-1][stop]]) == {(k + 1) % 3} and set(FOLDS[seen[-1][rest]]) == {(k + 2) % 3}
        assert len(rest) + len(stop) == len(seen[-1])
        return cv(*arguments, folds=folds, **options)

    monkeypatch.setattr(lightgbm, "Dataset", spy)
    monkeypatch.setattr(lightgbm, "cv", spy_on_cv)
    fitted_to(probabilities, truth, image_values)
    assert len(seen) == 3
    for k, images in enumerate(seen):
        assert set(FOLDS[images]) == {0, 1, 2} - {k} and len(images) == 700


def test_rows_below_the_floor_take_the_mean(data):
    probabilities, truth, image_values = data
    draw = Draw(max_rows=700, hard_from=0.3, floor=0.15)
    second, rated = fitted_to(probabilities, truth, image_values, draw=draw)
    single = probabilities.astype(np.float32)
    below = single.max(0) < np.float32(0.15)
    assert 0.1 < below.mean() < 0.9
    np.testing.assert_allclose(rated[below], single.mean(0)[below], rtol=1e-5)
    assert not np.isclose(rated[~below], single.mean(0)[~below]).any(0).all()
    whole = dataclasses.replace(second, floor=0.0).predict(probabilities, image_values)
    test = second.predict(probabilities, image_values)
    assert np.array_equal(test[~below], whole[~below]) and not np.array_equal(test[below], whole[below])
    nothing = second.predict(probabilities * np.float16(0.1), image_values)  # no row for the boosters
    np.testing.assert_allclose(nothing, (probabilities * np.float16(0.1)).astype(np.float32).mean(0), rtol=1e-5)


def test_chunks_without_positives_and_labels_without_images(data):
    probabilities, truth, image_values = data
    truth = truth.copy()
    truth[:40], truth[:, 3] = False, False
    second, rated = fitted_to(probabilities, truth, image_values, chunk_bytes=1)
    assert np.isfinite(rated).all() and (second.frequencies[:, 3] == 0).all()
    assert ((rated > 0) & (rated < 1)).all()


def test_files(data, fitted, tmp_path):
    probabilities, _, image_values = data
    second, _ = fitted
    second.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"second_level.json", "fold0.txt", "fold1.txt",
                                                          "fold2.txt"}
    loaded = SecondLevel.load(tmp_path, **NAMES)
    assert np.array_equal(loaded.predict(probabilities, image_values),
                          second.predict(probabilities, image_values))
    assert np.array_equal(loaded.frequencies, second.frequencies) and loaded.frequencies.dtype == np.float32
    np.testing.assert_array_equal(loaded.importances(), second.importances())
    np.testing.assert_allclose(second.importances().sum(1), 1)
    record = json.loads((tmp_path / "second_level.json").read_text())
    assert (record["n_models"], record["n_labels"], record["features"]) == (M, K, second.features)
    for name in NAMES:
        swapped = NAMES[name][::-1]
        with pytest.raises(SecondLevelError, match=f"{name}.*number 0 is .*in the same order"):
            SecondLevel.load(tmp_path, **{**NAMES, name: swapped})
    with pytest.raises(SecondLevelError, match="20 labels, got 19; number 19"):
        SecondLevel.load(tmp_path, **{**NAMES, "labels": NAMES["labels"][:-1]})
    text = (tmp_path / "fold1.txt").read_text()
    (tmp_path / "fold1.txt").write_text(text.replace("leaf_value=", "leaf_value=0", 1))
    with pytest.raises(SecondLevelError, match="fold1.txt is not what .*second_level.json says"):
        SecondLevel.load(tmp_path, **NAMES)


@pytest.mark.parametrize("change, says", [
    (lambda r: r.update(format_version=9), "format version 9"), (lambda r: r.pop("floor"), "damaged"),
    (lambda r: r.update(floor=2), "damaged"), (lambda r: r.update(boosters={}), "damaged"),
    (lambda r: r["boosters"].popitem(), "damaged"), (lambda r: r["frequencies"][0].pop(), "damaged"),
    (lambda r: r["features"].reverse(), "other features"), (lambda r: r.update(n_models=4), "damaged"),
    (lambda r: r.update(n_labels="x"), "damaged"), (lambda r: r["label_groups"].pop(), "damaged"),
    (lambda r: r.update(boosters={"../fold0.txt": "x"}, frequencies=r["frequencies"][:1]), "damaged"),
    (lambda r: r.update(models=None), "damaged")])
def test_damaged_records_are_refused(fitted, tmp_path, change, says):
    fitted[0].save(tmp_path)
    path = tmp_path / "second_level.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(SecondLevelError, match=says):
        SecondLevel.load(tmp_path, **NAMES)
    path.write_text("{")
    with pytest.raises(SecondLevelError, match="cannot be read"):
        SecondLevel.load(tmp_path, **NAMES)


def test_wrong_input_is_refused(data):
    p, truth, values = data
    nan = p.copy()
    nan[1, 7, 2] = np.nan
    fit = lambda p=p, truth=truth, folds=FOLDS, values=values, groups=GROUPS, **options: fit_second_level(
        p, truth, folds, values, groups, **{**QUICK, **options})
    for call, says in [
            (lambda: fit(p=nan), "'pnas-5' for image 7"), (lambda: fit(p=p + 1), "not logits"),
            (lambda: fit(p=p[:2]), "2 arrays"), (lambda: fit(p=[p[0], p[1], p[2, :9]]), "shapes"),
            (lambda: fit(truth=truth[:9]), "truth must be bool"), (lambda: fit(truth=truth * 1), "int"),
            (lambda: fit(truth=(np.array([0, 1]), np.array([0]))), "not one of 90 images"),
            (lambda: fit(truth=(np.arange(N + 1), np.full(N, K))), "not one of 90 images"),
            (lambda: fit(folds=FOLDS % 2), "at least three"), (lambda: fit(folds=FOLDS + 1), "0, 1, 2"),
            (lambda: fit(folds=FOLDS[:5]), "one for each image"),
            (lambda: fit(values=values[:5]), "image_values"),
            (lambda: fit(values=values / 0), "finite"), (lambda: fit(groups=GROUPS[:5]), "group for each"),
            (lambda: fit(groups=GROUPS / 2), "whole numbers"), (lambda: fit(labels=["a"]), "1 names of labels"),
            (lambda: fit(parameters={"objective": "x"}), "objective is not a parameter"),
            (lambda: fit(draw=Draw(max_rows=9)), "give .* or more"),
            (lambda: fit(truth=np.zeros((N, K), bool)), "0 positive"),
            (lambda: fit(truth=np.ones((N, K), bool)), "0 negative"),
            (lambda: fit(out=np.zeros((N, K), int)), "out must be floating"),
            (lambda: Draw(floor=-1), "0..1"), (lambda: lightgbm_settings({"seed": 1}, 0), "seed is not")]:
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=says):
            call()


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 3)])
def test_image_features_are_those_of_a_plain_loop(shape):
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3)).astype(np.uint8)
    light, rg, yb = [], [], []
    for r, g, b in image.reshape(-1, 3).tolist():
        light.append(0.299 * r + 0.587 * g + 0.114 * b)
        rg.append(r - g)
        yb.append((r + g) / 2 - b)
    colour = (np.std(rg) ** 2 + np.std(yb) ** 2) ** 0.5 + 0.3 * (np.mean(rg) ** 2 + np.mean(yb) ** 2) ** 0.5
    np.testing.assert_allclose(of_image.brightness(image), np.mean(light), rtol=1e-12)
    np.testing.assert_allclose(of_image.colourfulness(image), colour, rtol=1e-12)
    made = of_image.image_features(image)
    assert made.dtype == np.float32 and len(made) == len(of_image.NAMES)
    np.testing.assert_allclose(made, [np.mean(light), colour, max(shape), shape[0] > shape[1]], rtol=1e-6)
    assert of_image.image_features(image, 300, 7531)[2:].tolist() == [7531, 0]
    assert of_image.image_features(image, 7531, 300)[2:].tolist() == [7531, 1]
    feature_names(["a"], of_image.NAMES)  # they can be columns


def test_image_features_of_one_colour_and_of_wrong_input():
    gray = np.full((30, 50, 3), 77, np.uint8)
    assert of_image.colourfulness(gray) == 0 and of_image.brightness(gray) == pytest.approx(77, abs=1e-9)
    red = np.zeros((500, 900, 3), np.uint8)
    red[..., 0] = 255  # without spread, the means alone: rg 255, yb 127.5
    assert of_image.colourfulness(red) == pytest.approx(0.3 * (255 ** 2 + 127.5 ** 2) ** 0.5, rel=1e-12)
    for image in (gray[..., 0], gray / 255, gray[:0], np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 .height, width, 3."):
            of_image.image_features(image)
    with pytest.raises(ValueError, match="above 0"):
        of_image.image_features(gray, 0, 5)
