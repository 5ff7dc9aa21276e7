"""Products of several images from end to end: runs of single images and of pairs, what they say together,
submission and score, each recomputed from its files."""
import json
import shutil
import types

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

import run
from inference.predict import read_predictions
from jobs.val import figures_of
from models.weight_files import read_layers
from records.products import product_store
from records.store import open_store
from tests.helpers import make_products, run_module

SMALL = ["--backbone=wide_resnet10_2", "--n_epochs=3", "--batch_size=8", "--lr=0.05", "--val_fold=0"]


def call(store, *arguments):
    run.main([f"--data_tfrec_dir={store}", *map(str, arguments)])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run.main(list(map(str, arguments)))
    return str(stop.value) + capsys.readouterr().err


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Stores train and test, with their tables; runs of single images and of pairs, which have seen the test."""
    folder = tmp_path_factory.mktemp("products")
    make_products(folder / "a", folder / "train")
    table = make_products(folder / "b", folder / "test", per_count=1, seed=1, source="test")
    truth = table.drop_duplicates("group").rename(columns={"group": "_id", "label": "category_id"})
    truth.assign(part=np.where(truth["category_id"] == "c0", "first", "")).to_csv(
        folder / "truth.csv", index=False, columns=["_id", "category_id", "part"])
    call(folder / "train", *SMALL, f"--run_dir={folder / 'single'}", "--job=train,val")
    call(folder / "train", *SMALL, "--product_images=2", "--dim=16", "--level_weight=0.5", "--n_epochs=1",
         f"--init_from={folder / 'single'}", f"--run_dir={folder / 'pairs'}", "--job=train,val")
    for name in ("single", "pairs"):
        call(folder / "test", f"--run_dir={folder / name}", "--job=test")
    return folder


def probabilities(path):
    ids, names, logits, _ = read_predictions(path)
    return ids, names, softmax(logits.astype(np.float64), axis=1)


def together(places, name, weights):
    """{product: probabilities} from the files of the two runs, by plain Python. name: of the files."""
    single, pairs = (places / run / f"predictions/{name}.npz" for run in ("single", "pairs"))
    ids, _, p = probabilities(single)
    of_product = {}
    for name, row in zip(ids, p):
        of_product.setdefault(name.rsplit("_", 1)[0], []).append(row)
    means = {name: np.mean(rows, axis=0) for name, rows in of_product.items()}
    ids, _, p = probabilities(pairs)
    assert set(ids) == {name for name, rows in of_product.items() if len(rows) == 2}
    return means | {name: np.average([means[name], row], axis=0, weights=weights) for name, row in zip(ids, p)}


def test_a_run_of_pairs_starts_from_that_of_single_images(places):
    info = json.loads((places / "pairs/run.json").read_text())
    assert info["product_images"] == 2 and info["network"]["level_sizes"] == [2, 4]
    assert [level["name"] for level in info["class_levels"]] == ["category_level1", "category_level2"]
    log = pd.read_csv(places / "pairs/log.csv")
    assert {"level1_head_accuracy", "level2_head_accuracy", "val_accuracy", "val_accuracy_level2"} <= set(log)
    pairs = product_store(open_store(places / "train"), 2).manifest
    ids, names, logits, labels = read_predictions(places / "pairs/predictions/train_val.npz")
    assert sorted(ids) == sorted(pairs["id"][pairs["fold"] == 0]) and len(ids) == 8
    assert info["validation"]["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean(), abs=1e-6)
    layers = [layer.name for layer in read_layers(places / "pairs/checkpoints/best.h5").layers]
    assert "head_levels" in layers
    single = json.loads((places / "single/run.json").read_text())
    assert "product_images" not in single and "level_sizes" not in single["network"]


def test_validation_tells_accuracy_at_the_wider_levels():
    levels = [{"of_class": [0, 0, 1, 1]}, {"of_class": [0, 1, 2, 2]}]
    session = types.SimpleNamespace(
        rows=(None, np.array([4, 1, 2, 0])), labels=np.array([3, 1, 2, 0, 0]), class_names=list("abcd"),
        store=types.SimpleNamespace(manifest=pd.DataFrame(index=range(5)), class_levels=levels),
        options=types.SimpleNamespace(split=None, oversample_val_to=0))
    # Of the labels 0, 1, 2, 3: right, right at the widest level, right at both, wrong.
    figures = figures_of(session, np.array([0, 0, 3, 0]), np.zeros(4))
    assert [figures[name] for name in ("accuracy", "accuracy_level1", "accuracy_level2")] == [0.25, 0.75, 0.5]


def test_products_submission_and_score(places, tmp_path, capsys):
    truth, folder, scores = places / "truth.csv", tmp_path / "all", tmp_path / "scores.csv"
    members = f"--members={places / 'single'},{places / 'pairs'}"
    call(places / "test", members, "--member_weights=1,3", f"--run_dir={folder}", "--job=products,submit,score", f"--truth_csv={truth}", f"--score_csv={scores}",
         f"--sample_submission={truth}", "--score_name=both")
    said = capsys.readouterr().out
    assert "products: 2 runs, 16 products of 40 images" in said
    expected = together(places, "test", (1, 3))
    ids, names, p = probabilities(folder / "predictions/test.npz")
    np.testing.assert_allclose(p, [expected[name] for name in ids], atol=2e-3)
    submission = pd.read_csv(folder / "submission.csv", dtype=str)
    known = pd.read_csv(truth, dtype=str, keep_default_na=False)
    assert submission["_id"].tolist() == known["_id"].tolist()
    assert submission["category_id"].tolist() == [names[expected[name].argmax()] for name in known["_id"]]
    row = pd.read_csv(scores).iloc[0]
    right = (submission["category_id"] == known["category_id"]).to_numpy()
    pair = lambda column: column.str[1:].astype(int) // 2
    assert row["name"] == "both" and row["accuracy"] == pytest.approx(right.mean(), abs=1e-4)
    assert row["accuracy_level1"] == pytest.approx(
        (pair(submission["category_id"]) == pair(known["category_id"])).mean(), abs=1e-4)
    assert row["accuracy_first"] == pytest.approx(right[known["part"] == "first"].mean(), abs=1e-4)
    counts = pd.read_csv(places / "b/table.csv", dtype=str)["group"].value_counts()
    of_three = (counts[known["_id"]] == 3).to_numpy()
    assert row["accuracy_images3"] == pytest.approx(right[of_three].mean(), abs=1e-4)
    assert "accuracy_level2_images4" in row.index

    call(places / "test", members, "--member_weights=1,3", "--keep_logits=off", f"--run_dir={tmp_path / 'best'}",
         "--job=products,submit")
    shorter = pd.read_csv(tmp_path / "best/submission.csv", dtype=str).set_index("_id")["category_id"]
    assert shorter[submission["_id"]].tolist() == submission["category_id"].tolist()
    with np.load(tmp_path / "best/predictions/test.npz") as file:
        assert "logits" not in file and file["top_classes"].shape == (16, 4)
    assert "--keep_logits=on" in refused(capsys, f"--data_tfrec_dir={places / 'test'}", "--job=products",
                                         f"--members={tmp_path / 'best'}", f"--run_dir={tmp_path / 'again'}")
    call(places / "test", f"--members={folder},{places / 'single'}", f"--run_dir={tmp_path / 'more'}",
         "--job=products")
    ids, _, p = probabilities(tmp_path / "more/predictions/test.npz")
    alone = together(places, "test", (1, 0))
    np.testing.assert_allclose(p, [(expected[name] + alone[name]) / 2 for name in ids], atol=2e-3)


def test_single_images_are_scored_each_by_itself(places, tmp_path, capsys):
    scores, single = tmp_path / "scores.csv", places / "single"
    arguments = [f"--data_tfrec_dir={places / 'test'}", f"--run_dir={single}", "--job=score"]
    run.main([*arguments, f"--truth_csv={places / 'truth.csv'}", f"--score_csv={scores}", "--score_name=single"])
    assert "on 40 single images" in capsys.readouterr().out
    known = pd.read_csv(places / "truth.csv", dtype=str, keep_default_na=False).set_index("_id")
    ids, names, p = probabilities(single / "predictions/test.npz")
    product = pd.Series(ids).str.rsplit("_", n=1).str[0]
    right = np.array(names)[p.argmax(1)] == known.loc[product, "category_id"].to_numpy()
    row = pd.read_csv(scores).iloc[0]
    assert row["accuracy"] == pytest.approx(right.mean(), abs=1e-4)
    assert row["accuracy_first"] == pytest.approx(right[known.loc[product, "part"] == "first"].mean(), abs=1e-4)
    of_three = (product.map(product.value_counts()) == 3).to_numpy()
    assert row["accuracy_images3"] == pytest.approx(right[of_three].mean(), abs=1e-4)

    known.iloc[1:].to_csv(tmp_path / "short.csv")
    assert f"has no product '{known.index[0]}'" in refused(capsys, *arguments,
                                                           f"--truth_csv={tmp_path / 'short.csv'}")


def test_products_of_a_validation(places, tmp_path):
    call(places / "train", f"--members={places / 'single'},{places / 'pairs'}", f"--run_dir={tmp_path / 'all'}",
         "--job=products", "--val_fold=0")
    expected = together(places, "train_val", (1, 1))
    ids, names, logits, labels = read_predictions(tmp_path / "all/predictions/train_val.npz")
    assert set(ids) == set(expected) and len(ids) == 32
    np.testing.assert_allclose(np.exp(logits), [expected[name] for name in ids], atol=2e-3)
    right = np.array([expected[name].argmax() for name in ids]) == labels
    validation = json.loads((tmp_path / "all/run.json").read_text())["validation"]
    assert validation["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert {"accuracy_level1", "accuracy_images4", "accuracy_level2_images1"} <= set(validation)


def test_what_does_not_fit_is_refused(places, tmp_path, capsys):
    single, pairs = places / "single", places / "pairs"

    def says(*arguments):
        return refused(capsys, f"--data_tfrec_dir={places / 'test'}", *arguments)
    said = says("--job=products", f"--members={pairs}", f"--run_dir={tmp_path / 'x'}")
    assert "no member has predicted product" in said
    said = says("--job=ensemble", f"--members={pairs},{single}", f"--run_dir={tmp_path / 'y'}")
    assert "are of 2 and of single images" in said
    said = says("--job=test", f"--run_dir={pairs}", "--product_images=3")
    assert "is of 2 pictures, not of --product_images=3" in said
    said = says("--job=predict", f"--run_dir={pairs}", "--images", places / "b/pictures/0_0.png")
    assert "is of products of several pictures, and --job=predict" in said
    shutil.copytree(single, tmp_path / "other")
    (tmp_path / "other/predictions/test.npz").unlink()
    said = says("--job=products", f"--members={tmp_path / 'other'}", f"--run_dir={tmp_path / 'z'}")
    assert "no predictions at" in said
    make_products(tmp_path / "few", tmp_path / "few_store", counts=(1, 2))
    said = refused(capsys, *SMALL, f"--data_tfrec_dir={tmp_path / 'few_store'}", "--product_images=4",
                   f"--run_dir={tmp_path / 'w'}")
    assert "has no product of 4 pictures" in said


@pytest.mark.parametrize("arguments, says", [
    (["--product_pooling=features"], "needs --product_images"), (["--product_images=5"], "at most 4"),
    (["--product_images=2", "--product_pooling=features", "--mixup=0.2"], "--mixup mixes single pictures"),
    (["--product_images=2", "--product_pooling=features", "--teacher=x"], "--teacher does not go"),
    (["--level_weight=1", "--teacher=x"], "--level_weight does not go"),
    (["--keep_logits=off"], "is for --job=products"),
    (["--product_images=2", "--pseudo_tfrec_dir=x"], "does not go with --product_images"),
    (["--job=products", "--run_dir=x"], "needs --members"), (["--job=products", "--members=x"], "and --run_dir"),
    (["--job=test,products", "--members=x", "--run_dir=y"], "goes without --job=test"),
    (["--job=products", "--members=x", "--run_dir=y", "--combine=hard_vote"], "takes the mean of probabilities"),
    (["--task=multilabel", "--product_images=2"], "--product_images goes with --task=classify")])
def test_impossible_options_are_refused(arguments, says, capsys):
    assert says in refused(capsys, "--data_tfrec_dir=store", "--val_fold=0", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("augment_on, replicas", [("host", 1), ("device", 2)])
def test_features_of_three_pictures_train_stop_and_go_on(places, tmp_path, augment_on, replicas):
    """Two epochs and one more are three, bit for bit; on two devices too; the augmentation of each picture."""
    options = [*SMALL, f"--data_tfrec_dir={places / 'train'}", "--product_images=3", "--product_pooling=features",
               "--rotate=10", "--hflip=0.5", "--erase=0.5", f"--augment_on={augment_on}",
               f"--cpu_replicas={replicas}", "--checkpoint_every_steps=2", "--keep_checkpoints=20"]
    whole = run_module("run.py", *options, f"--run_dir={tmp_path / 'whole'}", "--job=train,val")
    assert whole.returncode == 0, whole.stderr[-3000:]
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    info = json.loads((tmp_path / "cut/run.json").read_text())
    assert info["network"]["pictures"] == 3
    (tmp_path / "cut/run.json").write_text(json.dumps(info | {"finished": False}))
    steps = sorted((tmp_path / "cut/checkpoints").glob("step-*.npz"))
    for path in steps[2:]:
        path.unlink()
    (tmp_path / "cut/checkpoints/last.h5").unlink()
    again = run_module("run.py", *options, f"--run_dir={tmp_path / 'cut'}", "--job=train")
    assert again.returncode == 0 and "resuming: " in again.stdout, again.stderr[-3000:]
    ours, theirs = (read_layers(tmp_path / name / "checkpoints/last.h5").layers for name in ("cut", "whole"))
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a.arrays, b.arrays, strict=True):
            np.testing.assert_array_equal(x, y)
    ids, _, logits, labels = read_predictions(tmp_path / "whole/predictions/train_val.npz")
    assert len(ids) == 8


@pytest.mark.slow
def test_every_kind_of_product_is_previewed_and_costed(places, tmp_path, capsys):
    for arguments in (["--product_images=4"], ["--product_images=3", "--product_pooling=features"]):
        call(places / "train", *SMALL, *arguments, "--job=preview", f"--preview_png={tmp_path / 'p.png'}")
        call(places / "train", *SMALL, *arguments, "--dry_run")
        assert "dry run: nothing was kept" in capsys.readouterr().out
