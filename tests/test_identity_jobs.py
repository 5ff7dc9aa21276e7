"""Folds in one call, ensembles of them, any images by a run alone, and re-identification."""
import json
import pathlib
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

import create_tfrecords
import run
from inference.predict import read_predictions
from records.store import open_store
from tests.helpers import make_classes, run_module

SMALL = ["--backbone=wide_resnet10_2", "--n_epochs=2", "--batch_size=12", "--lr=0.05"]


def pack(folder, out, *arguments):
    create_tfrecords.main(["--format=folder", f"--data_dir={folder}", f"--out_dir={out}", "--size=16",
                           "--channels=1", "--encoding=png", "--workers=1", *arguments])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A training store of two folds, a test store, and a run for each fold."""
    folder = tmp_path_factory.mktemp("identity")
    make_classes(folder / "set", classes=5, per_class=12)
    make_classes(folder / "new", classes=5, per_class=3, seed=1)
    pack(folder / "set", folder / "train", "--n_folds=2")
    pack(folder / "new", folder / "test", "--source=test")
    done = run_module("run.py", *SMALL, f"--data_tfrec_dir={folder / 'train'}", "--n_folds=2",
                      f"--run_dir={folder / 'runs'}", "--job=train,val")
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "said.txt").write_text(done.stdout)
    return folder


def call(store, *arguments):
    run.main([f"--data_tfrec_dir={store}", *map(str, arguments)])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run.main(list(map(str, arguments)))
    return str(stop.value) + capsys.readouterr().err


def test_every_fold_is_a_run_and_together_they_score_all_records(places):
    table = pd.read_csv(places / "runs/folds.csv", index_col="fold")
    assert table.index.tolist() == ["0", "1", "mean", "std", "together"]
    assert table.loc["together", "records"] == 60
    right = []
    for fold in (0, 1):
        info = json.loads((places / f"runs/fold{fold}/run.json").read_text())
        assert info["options"]["val_fold"] == fold
        ids, names, logits, labels = read_predictions(places / f"runs/fold{fold}/predictions/train_val.npz")
        assert [names[k] for k in labels] == [name.split("/")[0] for name in ids]
        right.append(logits.argmax(1) == labels)
    assert table.loc["together", "accuracy"] == pytest.approx(np.concatenate(right).mean(), abs=1e-6)
    assert table.loc["mean", "accuracy"] == pytest.approx(np.mean([r.mean() for r in right]), abs=1e-6)


@pytest.mark.slow
def test_finished_folds_are_passed_over_and_lost_ones_made_again(places, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(places / "runs", runs)
    first = (runs / "fold0/run.json").read_bytes()
    shutil.rmtree(runs / "fold1")
    again = [*SMALL, f"--data_tfrec_dir={places / 'train'}", "--n_folds=2", f"--run_dir={runs}",
             "--job=train,val"]
    done = run_module("run.py", *again)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "fold 0: finished before" in done.stdout and "== fold 1 of 2" in done.stdout
    assert (runs / "fold0/run.json").read_bytes() == first
    assert (runs / "folds.csv").read_text() == (places / "runs/folds.csv").read_text()
    other = run_module("run.py", *again, "--lr=0.01", "--final_fold=1")
    assert other.returncode == 1 and "its --lr is 0.05, not 0.01" in other.stderr


def test_folds_are_an_ensemble(places, tmp_path, capsys):
    for fold in (0, 1):
        call(places / "test", f"--run_dir={places / f'runs/fold{fold}'}", "--job=test", "--tta_number=2")
    call(places / "test", f"--run_dir={tmp_path / 'all'}", f"--members={places / 'runs'},{places / 'runs'}",
         "--combine=mean_probabilities", "--job=ensemble")
    said = capsys.readouterr().out
    assert "together on 60 records" in said and "ensemble: 4 runs" in said
    ids = open_store(places / "test").manifest["id"].tolist()
    parts = [read_predictions(places / f"runs/fold{fold}/predictions/test.npz", ids)[2] for fold in (0, 1)]
    probability = np.mean([np.exp(p) / np.exp(p).sum(1, keepdims=True) for p in parts], axis=0)
    np.testing.assert_allclose(np.exp(read_predictions(tmp_path / "all/predictions/test.npz", ids)[2]),
                               probability, atol=2e-3)


@pytest.mark.parametrize("arguments, says", [
    (["--n_folds=2"], "needs --run_dir"), (["--n_folds=2", "--run_dir=x", "--final_fold=3"], "where to stop"),
    (["--n_folds=2", "--run_dir=x", "--split=a"], "without --split"),
    (["--tta_number=3", "--views=crops5", "--val_fold=0"], "give one"),
    (["--job=predict", "--run_dir=x"], "--images"),
    (["--images", "x", "--val_fold=0"], "is for --job=predict")])
def test_impossible_calls_are_refused(arguments, says, capsys):
    assert says in refused(capsys, "--data_tfrec_dir=store", *arguments)


@pytest.fixture()
def photographs(places, tmp_path):
    shutil.copytree(places / "new", tmp_path / "photographs")
    return tmp_path / "photographs"


def test_any_images_are_classified_by_the_run_alone(places, photographs, tmp_path, capsys):
    """The same as packing them and --job=test; no store is needed."""
    run_dir = places / "runs/fold0"
    call(places / "test", f"--run_dir={run_dir}", "--job=test")
    run.main([f"--run_dir={run_dir}", "--job=predict", f"--data_preds_dir={tmp_path}",
              "--images", str(photographs)])
    table = pd.read_csv(tmp_path / "images.csv")
    ids, names, logits, _ = read_predictions(run_dir / "predictions/test.npz")
    expected = {name: names[row.argmax()] for name, row in zip(ids, logits)}
    found = {str(pathlib.Path(path).relative_to(photographs)): label
             for path, label in zip(table["path"], table["class1"])}
    assert found == expected and len(table) == 15
    assert table["probability1"].between(0, 1).all() and (table["probability1"] >= table["probability2"]).all()
    picture = cv2.imread(str(tmp_path / "images.png"))
    assert min(picture.shape[:2]) > 500
    said = capsys.readouterr().out
    assert said.count("class") > 15 and "predicted: 15 images" in said


def test_patterns_single_files_and_bad_ones(places, photographs, tmp_path, capsys):
    common = [f"--run_dir={places / 'runs/fold0'}", "--job=predict", f"--data_preds_dir={tmp_path}"]
    one = photographs / "class0/000_0.png"
    run.main([*common, "--images", str(one), str(photographs / "class?/*00_0.png")])
    assert len(pd.read_csv(tmp_path / "images.csv")) == 5  # the one is among those of the pattern
    assert "no image at" in refused(capsys, *common, "--images", tmp_path / "nowhere")
    one.write_bytes(one.read_bytes()[:60])
    assert str(one) in refused(capsys, *common, "--images", one)


def test_the_notebook_runs(places, photographs, monkeypatch, capsys):
    """Its code cells, with a run and an image of the test's."""
    notebook = json.loads(pathlib.Path("notebooks/classify_an_image.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 2
    space = {}
    for number, source in enumerate(cells):
        if number == 0:
            source = source.replace("runs/turtle", str(places / "runs/fold0")).replace(
                "photo.jpg", str(photographs / "class1/100_0.png"))
            assert str(photographs) in source
        exec(compile(source, f"cell {number}", "exec"), space)
    assert "class" in capsys.readouterr().out and len(space["table"]) == 1


def test_reidentification_by_neighbours(places, tmp_path, capsys):
    """Neighbours recomputed from the saved gallery; rows that are of no class of it are new."""
    run_dir = tmp_path / "run"
    shutil.copytree(places / "runs/fold0", run_dir)
    random = np.random.default_rng(0)
    for name in ("x", "y"):
        (tmp_path / "strangers" / name).mkdir(parents=True)
        for k in range(4):
            cv2.imwrite(str(tmp_path / f"strangers/{name}/{name}{k}.png"),
                        random.integers(0, 256, [24, 24, 3]).astype(np.uint8))
    pack(tmp_path / "strangers", tmp_path / "others")
    call(places / "train", f"--run_dir={run_dir}", "--val_fold=0", "--job=reidentify",
         f"--new_tfrec_dir={tmp_path / 'others'}")
    figures = json.loads((run_dir / "embeddings/gallery.json").read_text())
    assert 0.5 < figures["map_at_5"] <= 1 and figures["auroc"] > 0.5 and -1 <= figures["threshold"] <= 1
    call(places / "test", f"--run_dir={run_dir}", "--job=reidentify")
    table = pd.read_csv(run_dir / "reidentified/test.csv")
    assert len(table) == 15
    assert (table["is_new"] == (table["similarity"] < round(figures["threshold"], 4))).mean() > 0.9
    assert "re-identified: 15 records" in capsys.readouterr().out
    wrong = ["--job=reidentify", "--val_fold=0", f"--run_dir={run_dir}",
             f"--data_tfrec_dir={places / 'train'}", f"--new_tfrec_dir={places / 'train'}"]
    assert "individuals of the gallery" in refused(capsys, *wrong)


def test_individuals_that_are_not_known_are_new_turtles(places, tmp_path, capsys):
    """Of five classes four are known; the sample's order is kept."""
    run_dir = tmp_path / "run"
    shutil.copytree(places / "runs/fold0", run_dir)
    info = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(info | {"known_classes": [f"class{k}" for k in range(4)]}))
    call(places / "test", f"--run_dir={run_dir}", "--job=test")
    ids, names, logits, _ = read_predictions(run_dir / "predictions/test.npz")
    sample = tmp_path / "sample.csv"
    sample.write_text("image_id\n" + "\n".join(reversed(ids)) + "\n")
    truth, scores = tmp_path / "truth.csv", tmp_path / "scores.csv"
    truth.write_text("image_id,turtle_id\n" + "".join(
        f"{name},{names[row.argmax()]}\n" for name, row in zip(ids, logits)))  # class4 is a new one then
    call(places / "test", f"--run_dir={run_dir}", "--job=submit,score", f"--sample_submission={sample}",
         f"--truth_csv={truth}", f"--score_csv={scores}", "--score_name=fold 0")
    assert scores.read_text() == "name,accuracy,map_at_5\nfold 0,1.0000,1.0000\n"
    table = pd.read_csv(run_dir / "submission.csv", index_col="image_id")
    assert table.index.tolist() == ids[::-1]
    for name, row in zip(ids, logits):
        ranked = [names[k] if k < 4 else "new_turtle" for k in np.argsort(-row, kind="stable")]
        assert table.loc[name].tolist() == ranked
    assert (table == "new_turtle").any(axis=1).all() and "of a new turtle" in capsys.readouterr().out
