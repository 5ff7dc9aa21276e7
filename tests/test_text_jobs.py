"""--task=text from packed lines to texts and features: what each job leaves, recomputed from its files."""
import csv
import json
import os
import signal

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import create_tfrecords
import run
from jobs.options import parse
from jobs.text_features import over_boxes, over_steps
from models.crnn import build_crnn, sequence_model
from models.weight_files import read_layers
from records.features import read_features
from records.images import decode_image
from records.store import open_store
from records.stored_images import stored_images
from tests.helpers import run_module
from training.loop import Training

GLYPHS = {"a": (0, 8), "b": (8, 16), "c": (0, 16)}  # rows that are bright
SMALL = ["--backbone=crnn_small", "--recurrent_units=8", "--recurrent_layers=1", "--batch_size=8", "--lr=3e-3"]


def draw(folder, count, seed):
    """Lines of one to four letters, each a bar of its own height; {id: text}."""
    random, truth = np.random.default_rng(seed), {}
    folder.mkdir(parents=True)
    for k in range(count):
        text = "".join(random.choice(list("abc"), random.integers(1, 5)))
        line = random.integers(0, 60, (16, 12 * len(text))).astype(np.uint8)
        for place, letter in enumerate(text):
            line[slice(*GLYPHS[letter]), 12 * place + 2:12 * place + 10] = 220
        cv2.imwrite(str(folder / f"{seed}_{k}.png"), line)
        truth[f"{seed}_{k}"] = text
    with open(folder / "lines.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "id"), *((f"{k}.png", v, k) for k, v in truth.items())])
    return truth


def pack(folder, out, *arguments):
    create_tfrecords.main([f"--data_dir={folder}", f"--out_dir={out}", "--size=16", "--aspect=3",
                           "--channels=1", "--encoding=png", "--workers=1", *arguments])


def call(store, *arguments):
    run.main(["--task=text", f"--data_tfrec_dir={store}", *map(str, arguments)])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Stores of two folds and of other lines, with and without texts; a run that has trained two epochs."""
    folder = tmp_path_factory.mktemp("text")
    draw(folder / "set", 40, 1)
    draw(folder / "new", 12, 2)
    csv_of = lambda name: ["--format=text", f"--csv={folder / name / 'lines.csv'}"]
    pack(folder / "set", folder / "train", *csv_of("set"), "--n_folds=2")
    pack(folder / "new", folder / "new_train", *csv_of("new"), "--name=new")
    pack(folder / "new", folder / "test", *csv_of("new"), "--source=test")
    call(folder / "train", *SMALL, "--val_fold=0", "--n_epochs=2", "--rotate=2", "--shear=5", "--brightness=0.1",
         "--augment_on=host", f"--run_dir={folder / 'run'}", "--job=train,val")
    return folder


def network(places):
    """The run's network, built beside it from its files."""
    info = json.loads((places / "run/run.json").read_text())
    model = build_crnn(input_shape=(*info["input"]["size"], 1), n_classes=len(info["class_names"]), **info["network"])
    model.load_weights(places / "run/checkpoints/best.h5")
    return info, model


def lines(store, info):
    """The store's records as the network takes them, float32 [n, h, w, 1]."""
    images = np.stack([decode_image(data)[:, :, :1] for _, data in stored_images(store)]) / 255
    return ((images - info["input"]["mean"]) / info["input"]["std"]).astype(np.float32)


def read_by_hand(model, info, images):
    """(texts, confidences) of the best path, a step at a time."""
    texts, shares = [], []
    for row in tf.nn.softmax(model(images)).numpy():
        path = row.argmax(1)
        kept = [c for before, c in zip([-1, *path], path) if c != before and c < len(info["class_names"])]
        texts.append("".join(info["class_names"][c] for c in kept))
        shares.append(row.max(1).prod())
    return texts, shares


def test_training_validates_by_characters(places):
    info, model = network(places)
    assert info["task"] == "text" and info["class_names"] == ["a", "b", "c"]
    assert info["input"]["size"] == [16, 48] and info["dataset"]["packing"]["fit"] == "line"
    store = open_store(places / "train")
    rows = np.flatnonzero(store.manifest["fold"] == 0)
    read, _ = read_by_hand(model, info, lines(store, info)[rows])
    truth = store.manifest["label"].iloc[rows].tolist()
    assert info["validation"]["exact"] == pytest.approx(np.mean([a == b for a, b in zip(read, truth)]), abs=1e-6)
    log = pd.read_csv(places / "run/log.csv")
    assert {"loss", "accuracy", "val_loss", "val_cer", "val_exact"} <= set(log) and len(log) == 2
    assert log["loss"].iloc[1] < log["loss"].iloc[0]
    best = json.loads((places / "run/checkpoints/best.json").read_text())
    assert best["val_cer"] == log["val_cer"].min() == pytest.approx(info["validation"]["cer"], abs=1e-6)


def test_reading_a_store(places, capsys):
    info, model = network(places)
    for name in ("new_train", "test"):
        call(places / name, f"--run_dir={places / 'run'}", "--job=test")
        said = capsys.readouterr().out
        assert ("character error rate" in said) == (name == "new_train")  # where the texts are known
        store = open_store(places / name)
        with open(places / f"run/texts/{store.info['name']}.csv", newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        assert [row["id"] for row in found] == store.manifest["id"].tolist()
        texts, shares = read_by_hand(model, info, lines(store, info))
        assert [row["text"] for row in found] == texts
        np.testing.assert_allclose([float(row["confidence"]) for row in found], shares, rtol=1e-3)


def test_features_of_images_with_several_words_and_without(places, tmp_path):
    """A store of word boxes that a detector found, on pages of which one has none."""
    random = np.random.default_rng(3)
    (tmp_path / "pages").mkdir()
    for name in ("p", "q", "none"):
        cv2.imwrite(str(tmp_path / f"pages/{name}.png"), random.integers(0, 256, (90, 80)).astype(np.uint8))
    boxes = [("p", 4, 5, 40, 14), ("p", 10, 40, 60, 18), ("q", 0, 0, 33, 11)]
    with open(tmp_path / "found.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image_id", "x", "y", "w", "h", "score", "label", "label_score"),
                                    *((*box, 0.9, "", "") for box in boxes)])
    pack(tmp_path / "pages", tmp_path / "words", "--source=test", f"--detections={tmp_path / 'found.csv'}",
         "--fit=line", "--local_contrast=off", "--denoise=off")
    store, (info, model) = open_store(tmp_path / "words"), network(places)
    sequences = sequence_model(model)(lines(store, info)).numpy()  # [3, steps, 16]
    by_box = np.concatenate([sequences.mean(1), sequences.max(1)], axis=1)
    for kind in ("max", "mean"):
        call(tmp_path / "words", f"--run_dir={places / 'run'}", "--job=text_features", f"--pool_boxes={kind}")
        found = read_features(places / "run/text_features/test.npz")
        assert sorted(found.ids) == ["none", "p", "q"] and found.width == 32
        for image, values in zip(found.ids, found.values):
            own = by_box[(store.manifest["image_id"] == image).to_numpy()]
            expected = getattr(own, kind)(0) if len(own) else np.zeros(32)
            np.testing.assert_allclose(values, expected, atol=1e-5)


def test_pooling_over_steps_and_boxes():
    random = np.random.default_rng(4)
    sequence = random.normal(size=(5, 7, 3)).astype(np.float32)
    vectors = over_steps(sequence).numpy()
    np.testing.assert_allclose(vectors, np.concatenate([sequence.mean(1), sequence.max(1)], axis=1), rtol=1e-5)
    parts = [(np.array([2, 0]), vectors[:2]), (np.array([2, 2, 0]), vectors[2:])]
    owner = np.array([2, 0, 2, 2, 0])
    for kind in ("max", "mean"):
        found = over_boxes(parts, 4, 6, kind)
        for image in range(4):
            own = vectors[owner == image]
            np.testing.assert_allclose(found[image], getattr(own, kind)(0) if len(own) else 0, rtol=1e-5)


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(places, tmp_path):
    how = [*SMALL, "--n_epochs=2", "--sequence_dropout=0.2", "--rotate=2", "--job=train"]
    call(places / "train", *how, f"--run_dir={tmp_path / 'whole'}")
    end_epoch = Training._end_epoch

    def stop(self):
        Training._end_epoch = end_epoch
        changed = end_epoch(self)
        os.kill(os.getpid(), signal.SIGTERM)
        return changed
    Training._end_epoch = stop
    try:
        with pytest.raises(SystemExit):
            call(places / "train", *how, f"--run_dir={tmp_path / 'parts'}")
    finally:
        Training._end_epoch = end_epoch
    assert not (tmp_path / "parts/checkpoints/last.h5").exists()
    call(places / "train", *how, f"--run_dir={tmp_path / 'parts'}")
    assert (tmp_path / "whole/log.csv").read_text() == (tmp_path / "parts/log.csv").read_text()
    for name in ("checkpoints/last.h5", "checkpoints/best.h5"):
        ours, theirs = (read_layers(tmp_path / part / name).layers for part in ("whole", "parts"))
        assert all((a == b).all() for x, y in zip(ours, theirs, strict=True) for a, b in zip(x.arrays, y.arrays))


def test_what_does_not_go_together_is_refused(places, capsys, tmp_path):
    for says, arguments in (
            ("--dim has no effect", ["--dim=32"]), ("--dry_run has no effect", ["--dry_run"]),
            ("--mixup goes with --task=classify or multilabel, not text", ["--mixup=1"]),
            ("--hflip goes with", ["--hflip=0.5"]), ("--head goes with", ["--head=softmax"]),
            ("--job=predict does not go", ["--job=predict", "--images=x"]),
            ("goes alone", ["--job=test,text_features"]), ("is for --job=text_features", ["--pool_boxes=mean"]),
            ("here it is one of val_cer, val_exact", ["--monitor=val_f1"])):
        with pytest.raises(SystemExit):
            parse(["--task=text", "--data_tfrec_dir=x", "--val_fold=0", *arguments])
        assert says in capsys.readouterr().err, arguments
    for says, store, arguments in (
            ("does not say what stands", "test", ["--job=train"]),
            ("holds lines of text", "train", ["--task=classify", "--job=train", "--backbone=wide_resnet10_2"]),
            ("no convolution stack 'crnn_smal': did you mean crnn_small", "train",
             ["--job=train", "--batch_size=8", "--backbone=crnn_smal", f"--run_dir={tmp_path / 'x'}"])):
        with pytest.raises(SystemExit) as stop:
            call(places / store, *arguments)
        assert says in str(stop.value)


def test_a_text_too_long_for_its_line_is_named(places, tmp_path):
    with open(places / "set/long.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), ("1_0.png", "abc"), ("1_1.png", "aabbccaabbcc")])
    pack(places / "set", tmp_path / "long", "--format=text", f"--csv={places / 'set/long.csv'}")
    with pytest.raises(SystemExit) as stop:
        call(tmp_path / "long", *SMALL[:3], "--batch_size=2", "--job=train", f"--run_dir={tmp_path / 'run'}")
    assert "'1_1.png' ('aabbccaabbcc') needs 18 steps, and lines of 48 px have 11" in str(stop.value)


def test_preview(places, tmp_path):
    call(places / "train", *SMALL, "--val_fold=0", "--rotate=2", "--job=preview", f"--preview_png={tmp_path / 'p.png'}")
    assert cv2.imread(str(tmp_path / "p.png")).shape[1] > 100


@pytest.mark.slow
def test_two_mirrored_devices_learn_the_same(places, tmp_path):
    losses = []
    for replicas in (1, 2):
        folder = tmp_path / str(replicas)
        done = run_module("run.py", "--task=text", f"--data_tfrec_dir={places / 'train'}", *SMALL, "--val_fold=0",
                          "--n_epochs=2", "--rotate=3", f"--cpu_replicas={replicas}", f"--run_dir={folder}",
                          "--job=train,val")
        assert done.returncode == 0, done.stderr[-2000:]
        losses.append(pd.read_csv(folder / "log.csv")["loss"].to_numpy())
    # BatchNorm's statistics are each device's own.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.3)


@pytest.mark.slow
def test_the_lines_are_learned(places, tmp_path, capsys):
    call(places / "train", *SMALL[:3], "--recurrent_units=32", "--batch_size=8", "--lr=3e-3", "--val_fold=0",
         "--n_epochs=60", "--validate_every_epochs=20", f"--run_dir={tmp_path / 'run'}", "--job=train")
    call(places / "new_train", f"--run_dir={tmp_path / 'run'}", "--job=test")
    said = capsys.readouterr().out
    assert float(said.split("character error rate ")[1].split(",")[0]) < 0.05, said
