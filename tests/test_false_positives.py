"""The false-positive predictor: what it is fitted to, no page in its own rating, threshold, files."""
import dataclasses
import json

import lightgbm
import numpy as np
import optuna
import pandas as pd
import pytest

from inference.box_features import FEATURES, box_features
from inference.false_positive_search import SearchError, search
from inference.false_positives import (PUBLISHED, Rescorer, RescorerError, fit,
                                       lightgbm_settings, matched)
from inference.keep_threshold import choose_threshold
from inference.kuzushiji_score import score_pages
from inference.submissions import centre_points
from reports.importances import draw_importances

LABELS = [f"U+{0x3042 + k:04X}" for k in range(8)] + [f"U+{0x4E00 + k:04X}" for k in range(8)]
SMALL = {"num_leaves": 8, "min_child_samples": 5}
QUICK = {"seed": 3, "rounds": 30, "early_stopping": 8, "num_threads": 1}


def made_pages(seed=0, n_pages=12, columns=4, per_column=6, n_false=8):
    """(readings, truth, sizes): characters in columns; false boxes are smaller, off the columns and of
    a lower score, as a rule: each of the three only tends to be so."""
    random = np.random.default_rng(seed)
    rows, truth, sizes = [], {}, {}
    for image_id in (f"book_{k}" for k in range(n_pages)):
        sizes[image_id], labels, boxes = (800, 1000), [], []
        for x in np.linspace(80, 620, columns):
            for y in np.linspace(50, 850, per_column):
                box = [x + random.normal(0, 8), y + random.normal(0, 8), *random.normal(80, 10, 2)]
                labels.append(random.choice(LABELS))
                boxes.append(np.round(box).astype(int).tolist())
                read = labels[-1] if random.random() > 0.05 else "U+4E7F"
                rows.append((image_id, *(np.array(boxes[-1]) + random.normal(0, 2, 4)),
                         random.beta(6, 3), read, random.beta(5, 2)))
        for _ in range(n_false):
            x = random.choice(np.linspace(80, 620, columns)) + 105 + random.normal(0, 20)
            rows.append((image_id, x, random.uniform(30, 900), *random.normal(60, 12, 2),
                         random.beta(4, 4), random.choice(LABELS), random.beta(3, 3)))
        truth[image_id] = labels, boxes
    readings = pd.DataFrame(rows, columns=["image_id", *"xywh", "score", "label", "label_score"])
    return readings.sample(frac=1, random_state=seed, ignore_index=True), truth, sizes


def of(readings, truth, keep=slice(None)):
    kept = readings[keep]
    pages = {page: ([], []) for page in truth}
    points = centre_points(kept[list("xywh")].to_numpy())
    for page, label, point in zip(kept["image_id"], kept["label"], points):
        pages[page][0].append(label)
        pages[page][1].append(tuple(point))
    return score_pages(truth, pages)


@pytest.fixture(scope="module")
def made():
    readings, truth, sizes = made_pages()
    return readings, truth, box_features(readings, sizes), matched(readings, truth)


@pytest.fixture(scope="module")
def fitted(made):
    readings, _, features, target = made
    return fit(features, target, readings["image_id"], SMALL, **QUICK)


def test_matched_walks_the_true_boxes_in_order(made):
    readings, truth, _, target = made
    expected = np.zeros(len(readings), bool)
    for page, (labels, boxes) in truth.items():
        mine = [row for row in range(len(readings)) if readings["image_id"][row] == page]
        read = readings.iloc[mine].to_dict("records")
        for label, (x, y, w, h) in zip(labels, boxes):
            for row, box in zip(mine, read):
                px, py = np.floor(box["x"] + box["w"] / 2), np.floor(box["y"] + box["h"] / 2)
                if not expected[row] and box["label"] == label and x < px < x + w and y < py < y + h:
                    expected[row] = True
                    break
    assert np.array_equal(target, expected) and target.sum() == of(readings, truth).matched
    assert 0.6 < target.mean() < 0.85
    twice = pd.concat([readings[:5], readings[:5]])  # an index with doubles; each box counts once
    assert np.array_equal(matched(twice, truth), [*matched(readings[:5], truth), *[False] * 5])
    assert matched(readings[:0], truth).tolist() == []
    with pytest.raises(ValueError, match="page 'book_.*no truth"):
        matched(readings, {})


def test_no_page_is_fitted_or_stopped_by_for_its_own_rating(made, monkeypatch):
    readings, _, features, target = made
    pages, seen, train = readings["image_id"].to_numpy(), [], lightgbm.train
    of_row = {row.tobytes(): page for row, page in zip(features.to_numpy(), pages)}

    def spy(params, data, *arguments, valid_sets=(), **options):
        used = {of_row[row.tobytes()] for part in (data, *valid_sets) for row in np.asarray(part.data)}
        seen.append((used, bool(valid_sets)))
        return train(params, data, *arguments, valid_sets=list(valid_sets) or None, **options)

    monkeypatch.setattr(lightgbm, "train", spy)
    result = fit(features, target, pages, SMALL, n_folds=4, **QUICK)
    assert [stopping for _, stopping in seen] == [True, False] * 4
    for number, (used, stopping) in enumerate(seen):
        held_out = {page for page, fold in result.folds.items() if fold == number // 2}
        assert held_out and used == set(result.folds) - held_out
    for k, booster in enumerate(result.boosters):
        mine = np.array([result.folds[page] == k for page in pages])
        rated = booster.predict(features[mine].to_numpy())
        np.testing.assert_array_equal(result.out_of_fold[mine], rated)


def test_other_labels_of_a_page_leave_its_own_probabilities(made, fitted):
    readings, _, features, target = made
    pages = readings["image_id"].to_numpy()
    swapped, mine = target.copy(), pages == "book_5"
    swapped[mine] = np.roll(target[mine], 3)  # as many right ones, so that the folds stay
    assert (swapped != target).sum() > 4
    result = fit(features, swapped, pages, SMALL, **QUICK)
    assert result.folds == fitted.folds
    same = result.out_of_fold == fitted.out_of_fold
    fold = np.array([fitted.folds[page] for page in pages])
    assert same[fold == fitted.folds["book_5"]].all() and not same[fold != fitted.folds["book_5"]].all()


def test_folds_have_whole_pages_and_like_shares(made, fitted):
    readings, _, features, target = made
    fold = readings["image_id"].map(fitted.folds).to_numpy()
    assert set(fold) == set(range(5)) and set(fitted.folds) == set(readings["image_id"])
    shares = [1 - target[fold == k].mean() for k in range(5)]
    assert max(shares) - min(shares) < 0.1
    other = fit(features, target, readings["image_id"], SMALL, **{**QUICK, "seed": 4})
    assert other.folds != fitted.folds


def test_fitting_is_reproducible_and_the_mean_is_predicted(made, fitted):
    readings, _, features, target = made
    again = fit(features, target, readings["image_id"], SMALL, **QUICK)
    assert np.array_equal(again.out_of_fold, fitted.out_of_fold)
    expected = sum(booster.predict(features.to_numpy()) for booster in fitted.boosters) / 5
    np.testing.assert_allclose(fitted.predict(features), expected, rtol=1e-12)
    assert fitted.predict(features[:0]).tolist() == []
    assert {booster.params["max_depth"] for booster in fitted.boosters} == {7}
    assert max(booster.num_trees() for booster in fitted.boosters) <= 30
    full = fit(features, target, readings["image_id"], SMALL, **{**QUICK, "early_stopping": 0})
    assert {booster.num_trees() for booster in full.boosters} == {30}


def test_filtering_out_of_fold_raises_the_score():
    readings, truth, sizes = made_pages(seed=7, n_pages=14)
    target = matched(readings, truth)
    features, pages = box_features(readings, sizes), readings["image_id"]
    result = fit(features, target, pages, SMALL, seed=0, num_threads=1)
    before, after = of(readings, truth), of(readings, truth, result.out_of_fold >= 0.5)
    threshold, f1, _ = choose_threshold(result.out_of_fold, readings, truth)
    assert after.f1 > before.f1 + 0.05 and f1 >= after.f1
    by_score = max(of(readings, truth, readings["score"] >= t).f1 for t in np.linspace(0, 1, 41))
    assert after.f1 > by_score + 0.02  # no threshold of the detector does as well
    assert f1 == of(readings, truth, result.out_of_fold >= threshold).f1
    # Of labels by chance nothing is learnt, so nothing leaks.
    chance = np.random.default_rng(0).random(len(target)) < 0.5
    rated = fit(features, chance, pages, SMALL, **QUICK)
    assert abs(np.corrcoef(rated.out_of_fold, chance)[0, 1]) < 0.12


@pytest.mark.parametrize("change, says", [
    (dict(n_folds=2), "at least 3"), (dict(n_folds=13), "12 pages with boxes .* 13 folds: give more"),
    (dict(target=True), "384 of 384 boxes are right.*lower threshold"),
    (dict(target=False), "0 of 384 boxes"),
    (dict(params={"leaves": 3}), "leaves is not a parameter.*num_leaves"),
    (dict(pages=["p"]), "384 boxes.*1 have"),
    (dict(target="one page"), "all wrong boxes are on the pages of one fold"),
    (dict(features=["score"]), "expected the 121 features.*got 1, the first..'score'")])
def test_what_cannot_be_fitted_is_refused(made, change, says):
    readings, _, features, target = made
    pages = change.pop("pages", readings["image_id"])
    if (wanted := change.pop("target", None)) is not None:
        elsewhere = readings["image_id"] != "book_3"
        target = elsewhere if wanted == "one page" else np.full(len(target), wanted)
    with pytest.raises(ValueError, match=says):
        fit(features[change.pop("features", list(FEATURES))], target, pages,
            **{**QUICK, "params": SMALL, **change})


def test_what_is_saved_is_what_is_loaded(made, fitted, tmp_path):
    fitted = dataclasses.replace(fitted, threshold=0.375, figures={"f1": 0.9, "of": "Kyō"})
    fitted.save(tmp_path / "a/b")
    assert sorted(path.name for path in (tmp_path / "a/b").iterdir()) == [
        *(f"fold{k}.txt" for k in range(5)), "rescorer.json"]
    loaded = Rescorer.load(tmp_path / "a/b")
    assert np.array_equal(loaded.predict(made[2]), fitted.predict(made[2]))
    for name in ("params", "seed", "folds", "threshold", "figures"):
        assert getattr(loaded, name) == getattr(fitted, name)
    np.testing.assert_array_equal(loaded.importances(), fitted.importances())
    loaded.save(tmp_path / "c")
    assert (tmp_path / "c/rescorer.json").read_bytes() == (tmp_path / "a/b/rescorer.json").read_bytes()


def change_record(folder, **values):
    record = json.loads((folder / "rescorer.json").read_text())
    (folder / "rescorer.json").write_text(json.dumps({**record, **values}))


@pytest.mark.parametrize("damage, says", [
    (lambda f: (f / "rescorer.json").unlink(), "rescorer.json cannot be read"),
    (lambda f: (f / "rescorer.json").write_text('{"format'), "rescorer.json cannot be read"),
    (lambda f: (f / "rescorer.json").write_bytes(b"\xff\xfe\x00"), "rescorer.json cannot be read"),
    (lambda f: (f / "rescorer.json").write_text("[]"), "format version None, expected 1"),
    (lambda f: change_record(f, format_version=2), "format version 2"),
    (lambda f: change_record(f, features=[*FEATURES[1:], FEATURES[0]]), "other features"),
    (lambda f: change_record(f, boosters=None), "rescorer.json is damaged"),
    (lambda f: change_record(f, boosters={}), "0 boosters"),
    (lambda f: change_record(f, threshold=1.5), "threshold 1.5"),
    (lambda f: change_record(f, threshold="x"), "rescorer.json is damaged"),
    (lambda f: (f / "fold1.txt").unlink(), "fold1.txt cannot be read"),
    (lambda f: (f / "fold1.txt").write_text((f / "fold1.txt").read_text()[:-900]),
     "fold1.txt is not what"),
    (lambda f: (f / "fold1.txt").write_bytes((f / "fold2.txt").read_bytes()), "fold1.txt is not what")])
def test_damaged_and_foreign_files_are_refused(fitted, tmp_path, damage, says):
    fitted.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(RescorerError, match=says):
        Rescorer.load(tmp_path)


def crowded(seed):
    """Readings of few labels in overlapping true boxes, so that dropping one frees a box for another."""
    random = np.random.default_rng(seed)
    pages, truth = ["a", "b", "c"], {"empty": ([], [])}
    for page in pages:
        n = int(random.integers(1, 15))
        truth[page] = random.choice(["x", "y"], n).tolist(), np.c_[
            random.integers(0, 30, (n, 2)), random.integers(5, 25, (n, 2))].tolist()
    m = 60
    readings = pd.DataFrame({"image_id": random.choice([*pages[:2], "empty"], m), "label": random.choice(
        ["x", "y", "z"], m), **dict(zip("xywh", random.uniform(0, 30, (4, m))))})
    return readings, truth, random.choice(13, m) / 12 if seed % 2 else random.random(m)


@pytest.mark.parametrize("seed", range(12))
def test_the_threshold_is_the_best_by_the_scores_own_rule(seed):
    readings, truth, probability = crowded(seed)
    threshold, f1, table = choose_threshold(probability, readings, truth)
    assert table["threshold"].tolist() == sorted({*probability.tolist(), 0.5})
    for row in table.itertuples():
        score = of(readings, truth, probability >= row.threshold)
        assert (row.matched, row.predicted, row.f1) == (score.matched, score.predicted, score.f1)
    assert f1 == table["f1"].max() > 0
    best = [t for t in table["threshold"] if of(readings, truth, probability >= t).f1 == f1]
    assert threshold == min(best, key=lambda t: abs(t - 0.5))


def test_dropping_a_box_can_free_a_true_one():
    truth = {"p": (["a", "a"], [[0, 0, 20, 20], [8, 8, 4, 4]])}
    readings = pd.DataFrame([("p", 9, 9, 2, 2, "a"), ("p", 1, 1, 2, 2, "a"), ("p", 9, 9, 2, 2, "a")],
                            columns=["image_id", *"xywh", "label"])
    threshold, f1, table = choose_threshold([.9, .1, .7], readings, truth)
    assert (threshold, f1) == (0.5, 1.0)
    assert table.to_dict("list") == {"threshold": [.1, .5, .7, .9], "matched": [2, 2, 2, 1],
                                     "predicted": [3, 2, 2, 1], "f1": [.8, 1, 1, 2 / 3]}


def test_of_equally_good_thresholds_it_is_the_one_nearest_a_half():
    truth = {"p": (["a", "b"], [[0, 0, 20, 20], [50, 0, 20, 20]])}
    readings = pd.DataFrame([("p", 9, 9, 2, 2, "a"), ("p", 59, 9, 2, 2, "b"),
                             *[("p", 90, 9, 2, 2, "b")] * 2], columns=["image_id", *"xywh", "label"])
    threshold, f1, table = choose_threshold([.9, .3, .3, .3], readings, truth)
    assert table["f1"].tolist() == [4 / 6, 2 / 3, 2 / 3] and (threshold, f1) == (0.5, 2 / 3)


def test_the_threshold_of_nothing_and_refusals():
    readings, truth, probability = crowded(0)
    assert choose_threshold([], readings[:0], truth)[:2] == (0.5, 0.0)
    assert choose_threshold([], readings[:0], {})[:2] == (0.5, 0.0)
    for arguments, says in (((probability[1:], readings, truth), "59 probabilities for 60"),
                            ((probability * np.nan, readings, truth), "NaN"),
                            ((probability, readings, {"a": truth["a"]}),
                             "page 'b' has readings but no truth")):
        with pytest.raises(ValueError, match=says):
            choose_threshold(*arguments)


def complete(study):
    return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])


def found(study):
    return [(t.state, t.value, t.params, t.intermediate_values) for t in study.trials]


@pytest.fixture(scope="module")
def searched(made, tmp_path_factory):
    readings, _, features, target = made
    arguments = dict(features=features, target=target, pages=readings["image_id"], seed=5, rounds=40,
                     early_stopping=0, n_folds=3, num_threads=1, progress=False)
    path = tmp_path_factory.mktemp("search") / "trials.json"
    return arguments, path, search(**arguments, path=path, n_trials=14)


def test_a_search_keeps_to_its_ranges_and_begins_as_told(made, searched, tmp_path):
    arguments, _, study = searched
    assert study.trials[0].params == PUBLISHED
    states = {trial.state for trial in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}
    for trial in study.trials:
        p = trial.params
        assert 1e-8 <= min(p["lambda_l1"], p["lambda_l2"]) <= max(p["lambda_l1"], p["lambda_l2"]) <= 10
        assert 2 <= p["num_leaves"] <= 256 and 5 <= p["min_child_samples"] <= 100
        assert 1 <= p["bagging_freq"] <= 7
        assert 0.4 <= min(p["feature_fraction"], p["bagging_fraction"])
        assert max(p["feature_fraction"], p["bagging_fraction"]) <= 1
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 14
    assert study.best_value == min(t.value for t in complete(study))
    start = {**PUBLISHED, "num_leaves": 5}
    assert search(**arguments, path=tmp_path / "t.json", n_trials=1, start=start).best_params == start


def test_the_value_is_the_mean_log_loss_of_the_held_out_pages(made, searched):
    readings, _, features, target = made
    result = fit(features, target, readings["image_id"], n_folds=3, seed=5, rounds=40,
                 early_stopping=0, num_threads=1)
    fold = readings["image_id"].map(result.folds).to_numpy()
    p = np.where(target, result.out_of_fold, 1 - result.out_of_fold)
    last = np.mean([-np.log(p[fold == k]).mean() for k in range(3)])
    assert searched[2].trials[0].intermediate_values[40] == pytest.approx(last, rel=0.02)  # other bins
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    for trial in complete(searched[2])[:3]:
        data = lightgbm.Dataset(features.to_numpy(), target.astype(np.float32))  # anew for each
        course = lightgbm.cv(lightgbm_settings(trial.params, 5, 1), data, 40, folds=splits)
        course = course["valid binary_logloss-mean"]
        assert trial.value == min(course)
        assert trial.intermediate_values == {k: course[k - 1] for k in (10, 20, 30, 40)}


def test_a_search_cut_off_anywhere_ends_as_the_whole_one(searched, tmp_path, monkeypatch):
    arguments, path, study = searched
    mine, cv, calls = tmp_path / "trials.json", lightgbm.cv, []

    def killed(*args, **options):
        calls.append(1)
        if len(calls) in (1, 4, 13):
            raise KeyboardInterrupt
        return cv(*args, **options)

    monkeypatch.setattr(lightgbm, "cv", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            search(**arguments, path=mine, n_trials=14)
    assert found(search(**arguments, path=mine, n_trials=14)) == found(study) and len(calls) == 17
    assert mine.read_bytes() == path.read_bytes()
    assert found(search(**arguments, path=mine, n_trials=9)) == found(study) and len(calls) == 17
    assert len(search(**arguments, path=mine, n_trials=15).trials) == 15 and len(calls) == 18


def test_files_of_other_searches_and_damaged_ones_are_refused(searched, tmp_path):
    arguments, path, _ = searched
    content, mine = path.read_text(), tmp_path / "trials.json"
    for text, says in ((content[:-40], "damaged"), ("", "damaged"), ("[]", "damaged"), ("\0", "damaged"),
                       (content.replace('"num_leaves": 140', '"num_leaves": 500'), "damaged"),
                       (content.replace('"PRUNED"', '"LOST"'), "damaged")):
        mine.write_text(text)
        with pytest.raises(SearchError, match=f"trials.json is not a file of trials, or {says}"):
            search(**arguments, path=mine, n_trials=15)
    mine.write_text(content)
    for change in ({"seed": 6}, {"rounds": 41}, {"target": ~arguments["target"]},
                   {"start": {**PUBLISHED, "num_leaves": 9}}, {"features": arguments["features"] * 2}):
        with pytest.raises(SearchError, match="other boxes, pages, seed or settings"):
            search(**{**arguments, **change}, path=mine, n_trials=15)
    with pytest.raises(ValueError, match="wrong or missing: bagging_freq"):
        search(**arguments, path=mine, start={k: v for k, v in PUBLISHED.items() if k != "bagging_freq"})
    with pytest.raises(ValueError, match="wrong or missing: num_leaves"):
        search(**arguments, path=mine, start={**PUBLISHED, "num_leaves": 300})


def test_importances_are_shares_and_are_drawn(fitted, tmp_path):
    shares = fitted.importances()
    assert shares.shape == (5, len(FEATURES))
    np.testing.assert_allclose(shares.sum(1), 1)
    gain = fitted.boosters[2].feature_importance("gain")
    np.testing.assert_allclose(shares[2], gain / gain.sum())
    draw_importances(tmp_path / "importances.png", shares, FEATURES)
    assert (tmp_path / "importances.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["importances.png"]
    with pytest.raises(ValueError, match="121 features, got the shape"):
        draw_importances(tmp_path / "importances.png", shares[:, 1:], FEATURES)
