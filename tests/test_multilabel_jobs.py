"""--task=multilabel from packed records to a second level: what each job leaves, recomputed from its files."""
import csv
import json

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.special import expit
from sklearn.metrics import fbeta_score

import create_tfrecords
import run
from inference.label_scores import fit_thresholds, halves, label_groups
from inference.multilabel import apply_thresholds
from inference.predict import read_predictions
from jobs import folds
from models.losses import bce, binary_focal, switched
from models.weight_files import read_layers
from pipeline.selection import label_matrix
from records.pseudo import with_pseudo
from records.store import open_store

NAMES = ["row::high", "row::low", "row::middle", "side::left", "side::right"]
SMALL = ["--task=multilabel", "--backbone=wide_resnet10_2", "--n_epochs=2", "--batch_size=12", "--lr=1e-2"]


def draw(folder, csv_path, count, seed):
    """Images with bright bars, and a table of what is on each; some have nothing."""
    random, rows = np.random.default_rng(seed), []
    (folder / "images").mkdir(parents=True)
    for k in range(count):
        image = random.integers(0, 60, (24, 24, 3)).astype(np.uint8)
        shown = sorted(random.choice(5, random.integers(0, 4), replace=False).tolist())
        for label in shown:
            if label < 3:
                image[(3, 19, 11)[label]:][:3] = 250
            else:
                image[:, (2, 20)[label - 3]:][:, :3] = 200
        cv2.imwrite(str(folder / f"images/{seed}_{k}.png"), image)
        rows.append((f"images/{seed}_{k}.png", "|".join(NAMES[label] for label in shown), f"{seed}_{k}"))
    with open(csv_path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "labels", "id"), *rows])
    return {row[2]: row[1] for row in rows}


def pack(folder, csv_path, out, *arguments):
    create_tfrecords.main(["--format=csv", f"--data_dir={folder}", f"--csv={csv_path}", f"--out_dir={out}",
                           "--size=16", "--channels=1", "--encoding=png", "--workers=1", *arguments])


def call(store, *arguments):
    run.main(["--task=multilabel", f"--data_tfrec_dir={store}", *map(str, arguments)])


def train(folder, name, fold, *arguments):
    call(folder / "train", *SMALL[1:], f"--val_fold={fold}", f"--run_dir={folder / name / f'fold{fold}'}",
         "--job=train,val", *arguments)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Stores of three folds and of test images; a joint run for each fold, and one for each group."""
    folder = tmp_path_factory.mktemp("multilabel")
    draw(folder / "set", folder / "train.csv", 48, 1)
    truth = draw(folder / "new", folder / "test.csv", 12, 2)
    (folder / "truth.csv").write_text("id,labels\n" + "".join(f"{k},{v}\n" for k, v in truth.items()))
    pack(folder / "set", folder / "train.csv", folder / "train", "--n_folds=3")
    pack(folder / "new", folder / "test.csv", folder / "test", "--source=test")
    for fold in range(3):
        train(folder, "joint", fold, "--loss=binary_focal:1,lovasz_hinge:0.1", "--later_loss=bce",
              "--later_loss_epoch=1")
        for group in ("row", "side"):
            train(folder, group, fold, f"--label_group={group}", f"--init_from={folder / f'joint/fold{fold}'}",
                  "--n_epochs=1", "--lr=1e-9")
        for name in ("joint", "row", "side"):
            call(folder / "test", f"--run_dir={folder / name / f'fold{fold}'}", "--job=test")
    return folder


def matrix(store, names=NAMES):
    return label_matrix(*store.label_ids(), [store.class_names.index(name) for name in names]) > 0


def f2(truth, given):
    return fbeta_score(truth, given, beta=2, average="samples", zero_division=1)


def test_a_runs_validation_is_what_its_file_says(places):
    store = open_store(places / "train")
    assert store.class_names == NAMES
    for fold in range(3):
        folder = places / f"joint/fold{fold}"
        info = json.loads((folder / "run.json").read_text())
        ids, names, logits, labels = read_predictions(folder / "predictions/train_val.npz")
        place = {record_id: k for k, record_id in enumerate(store.manifest["id"])}
        rows = [place[record_id] for record_id in ids]
        assert set(store.manifest["fold"].to_numpy()[rows]) == {fold}
        assert names == NAMES and labels.dtype == np.uint8 and (labels == matrix(store)[rows]).all()
        part, given = halves(ids), np.zeros(labels.shape, bool)
        for half in (0, 1):
            other = part != half
            thresholds = fit_thresholds(expit(logits)[other], labels[other] > 0, NAMES)
            given[~other] = apply_thresholds(expit(logits[~other]), thresholds)
        # float16 in the file, float32 in the run
        assert info["validation"]["f2"] == pytest.approx(f2(labels, given), abs=0.02)
        rows = slice(0, 3)
        assert info["validation"]["f2_row"] == pytest.approx(f2(labels[:, rows], given[:, rows]), abs=0.02)
        assert len(info["thresholds"]) == 5 and len(set(info["thresholds"])) <= 2
        log = pd.read_csv(folder / "log.csv")
        assert {"val_f2", "val_f2_row", "val_f2_side", "val_loss", "accuracy"} <= set(log)


def test_scores_over_folds(places, capsys):
    folds.score(places / "joint")
    table = pd.read_csv(places / "joint/folds.csv", index_col="fold")
    assert table.index.tolist() == ["0", "1", "2", "mean", "std", "together"]
    assert table.loc["together", "records"] == 48
    parts = [read_predictions(places / f"joint/fold{fold}/predictions/train_val.npz") for fold in range(3)]
    probabilities, truth = (np.concatenate([part[k] for part in parts]) for k in (2, 3))
    probabilities, truth = expit(probabilities), truth > 0
    fold = np.repeat(range(3), [len(part[0]) for part in parts])
    given = np.concatenate([apply_thresholds(
        probabilities[fold == k], fit_thresholds(probabilities[fold != k], truth[fold != k], NAMES))
        for k in range(3)])
    assert table.loc["together", "f2"] == pytest.approx(f2(truth, given), abs=1e-6)


def test_a_groups_network_begins_with_the_joint_heads_columns(places):
    """With next to no learning rate the head of the group is that of the joint run, cut out."""
    for name, columns in label_groups(NAMES).items():
        joint, own = (next(t for layer, t in zip(("head",), [read_layers(
            places / f"{run_name}/fold1/checkpoints/best.h5").layers[-1]]) if layer)
            for run_name in ("joint", name))
        for ours, theirs in zip(own.arrays, joint.arrays):
            assert ours.shape[-1] == len(columns)
            np.testing.assert_allclose(ours, theirs[..., columns], atol=1e-6)
        info = json.loads((places / f"{name}/fold1/run.json").read_text())
        assert info["class_names"] == [NAMES[k] for k in columns]


def test_groups_joined_and_weighted_means(places, tmp_path, capsys):
    both = f"--members={places / 'row'},{places / 'side'}"
    for store in ("train", "test"):
        call(places / store, f"--run_dir={tmp_path / 'joined'}", both, "--job=ensemble", "--overwrite")
    ids = open_store(places / "test").manifest["id"].tolist()
    joined = read_predictions(tmp_path / "joined/predictions/test.npz", ids)
    assert joined[1] == NAMES
    for name, columns in label_groups(NAMES).items():
        parts = [read_predictions(places / f"{name}/fold{k}/predictions/test.npz", ids)[2] for k in range(3)]
        np.testing.assert_allclose(joined[2][:, columns], np.mean(parts, axis=0), rtol=2e-3, atol=5e-3)

    members = f"--members={places / 'joint'},{tmp_path / 'joined'}"
    for store in ("train", "test"):
        call(places / store, f"--run_dir={tmp_path / 'mean'}", members, "--member_weights=fit",
             "--combine=mean_probabilities", "--job=ensemble", "--overwrite")
    said = capsys.readouterr().out
    assert "weights: joint 0." in said or "weights: joint 1." in said
    call(places / "test", f"--run_dir={tmp_path / 'mean'}", "--job=submit,score", "--least_labels=1",
         f"--truth_csv={places / 'truth.csv'}", f"--score_csv={tmp_path / 'scores.csv'}", "--score_name=mean")
    given = pd.read_csv(tmp_path / "mean/submission.csv", keep_default_na=False)
    assert given["id"].tolist() == ids and (given["labels"] != "").all()
    truth = pd.read_csv(places / "truth.csv", keep_default_na=False).set_index("id")["labels"]
    hot = lambda texts: np.array([[name in text.split("|") for name in NAMES] for text in texts])
    assert pd.read_csv(tmp_path / "scores.csv")["f2"][0] == pytest.approx(
        f2(hot(truth[ids]), hot(given["labels"])), abs=1e-4)


@pytest.mark.parametrize("stack", ["cnn", "cnn_groups", "lightgbm"])
def test_a_second_level_is_fitted_out_of_fold_and_used(places, tmp_path, stack, capsys):
    call_ = [f"--run_dir={tmp_path}", f"--members={places / 'joint'},{places / 'joint'}", "--job=stack",
             f"--stack={stack}", "--stack_epochs=2", "--stack_rows=1000"]
    call(places / "train", *call_)
    assert f"by {stack} of 2 members on 48 records" in capsys.readouterr().out
    ids, names, logits, labels = read_predictions(tmp_path / "predictions/stack_val.npz")
    assert names == NAMES and logits.shape == (48, 5) and np.isfinite(logits).all()
    call(places / "test", *call_)
    _, _, logits, _ = read_predictions(tmp_path / "predictions/test.npz")
    assert logits.shape == (12, 5)
    files = {path.name for path in (tmp_path / "stack").iterdir()}
    assert files >= {"cnn": {"all_part2.h5"}, "cnn_groups": {"row_part0.h5", "side_part2.h5"},
                     "lightgbm": {"second_level.json", "fold2.txt"}}[stack]
    if stack == "cnn":  # two epochs of so few steps leave it near the mean, where it begins
        parts = [read_predictions(places / f"joint/fold{k}/predictions/test.npz", ids=None)[2] for k in range(3)]
        assert np.corrcoef(logits.ravel(), np.mean(parts, axis=0).ravel())[0, 1] > 0.95
    assert "is of other members" in refused(capsys, places / "test", *call_[:1],
                                            f"--members={places / 'joint'}", *call_[2:])


def test_pseudo_labels_train_and_never_validate(places, tmp_path, capsys):
    call(places / "test", f"--run_dir={places / 'joint/fold0'}", "--job=pseudo", "--pseudo_probability=0.1")
    csv_path = places / "joint/fold0/pseudo/test.csv"
    table = pd.read_csv(csv_path)
    assert list(table) == ["id", "labels", "probability"] and len(table) > 3
    assert set("|".join(table["labels"]).split("|")) <= set(NAMES)
    pack(places / "new", places / "test.csv", tmp_path / "pseudo", f"--pseudo={csv_path}")
    train, pseudo = open_store(places / "train"), open_store(tmp_path / "pseudo")
    both = with_pseudo(train, pseudo)
    given = {row.id: row.labels.split("|") for row in table.itertuples()}
    for record_id, row in zip(both.manifest["id"], matrix(both)):
        if record_id in given:
            assert [name for name, there in zip(NAMES, row) if there] == sorted(given[record_id])
    call(places / "train", *SMALL[1:], "--n_epochs=1", "--val_fold=0", f"--run_dir={tmp_path / 'run'}",
         "--job=train,val", f"--pseudo_tfrec_dir={tmp_path / 'pseudo'}", "--pseudo_target=0.9")
    assert f"data: {32 + len(table)} training records" in (said := capsys.readouterr().out), said
    ids = read_predictions(tmp_path / "run/predictions/train_val.npz")[0]
    assert not set(ids) & set(given)


def test_what_does_not_go_together_is_refused(places, capsys):
    store = places / "train"
    for says, arguments in (
            ("chooses one class", ["--head=arcface"]), ("is for one class", ["--loss=focal"]),
            ("go together", ["--later_loss=bce"]), ("has row, side", ["--label_group=rows"]),
            ("leaves no label", ["--least_records=100"]), ("--job=reidentify does not go", ["--job=reidentify"])):
        assert says in refused(capsys, store, "--val_fold=0", *arguments), arguments
    with pytest.raises(SystemExit) as stop:
        run.main([f"--data_tfrec_dir={store}", "--val_fold=0", "--job=train", *SMALL[1:4]])
    assert "give --task=multilabel" in str(stop.value)


def refused(capsys, store, *arguments):
    with pytest.raises(SystemExit) as stop:
        call(store, *arguments)
    return str(stop.value) + capsys.readouterr().err


def test_the_loss_switches_within_a_compiled_step():
    random = np.random.default_rng(0)
    targets = tf.constant(random.integers(0, 2, (4, 6)), tf.float32)
    logits = tf.constant(random.normal(size=(4, 6)), tf.float32)
    step = tf.Variable(0, dtype=tf.int64)
    loss = switched(binary_focal, bce, lambda: step >= 2)
    compiled = tf.function(loss, jit_compile=True)
    for number, expected in ((0, binary_focal), (1, binary_focal), (2, bce), (3, bce)):
        step.assign(number)
        for call_ in (loss, compiled):
            np.testing.assert_allclose(call_(targets, logits), expected(targets, logits), rtol=1e-5)


def test_the_matrix_of_labels_is_that_of_the_lists():
    lists = [[0, 2], [], [3], [1, 2, 3]]
    indptr, indices = np.cumsum([0, *map(len, lists)]), np.concatenate([np.array(x, int) for x in lists])
    for columns in ([0, 1, 2, 3, 4], [3, 1], [4]):
        expected = [[int(c in own) for c in columns] for own in lists]
        assert label_matrix(indptr, indices, columns).tolist() == expected
