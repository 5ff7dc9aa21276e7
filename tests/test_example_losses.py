"""Losses by record: which are left out or come twice, the file, the run that goes on from it."""
import csv
import os
import signal
import types

import numpy as np
import pandas as pd
import pytest

import create_tfrecords
import run
from jobs.example_losses import ExampleLosses
from jobs.run_directory import RunError
from models.weight_files import read_layers
from pipeline import example_choice
from pipeline.example_choice import choose_examples, excess_losses
from tests.helpers import make_classes
from training.loop import Training


def choose_slowly(places, labels, losses, drop, hardest, filled):
    """choose_examples by loops; filled: a choice with the same drop and no hardest, which is random."""
    n = len(labels)
    order = sorted(range(n), key=lambda i: (-(np.inf if np.isnan(losses[i]) else losses[i]), i))
    left_out = []
    for i in order:
        others = [j for j in order if labels[j] == labels[i] and j not in left_out and j != i]
        if len(left_out) < round(drop * n) and others:
            left_out.append(i)
    kept = [i for i in order if i not in left_out]
    hard = kept[:min(round(hardest * n), len(kept) // 2)]
    hardest_of_class = [next(i for i in kept if labels[i] == label) for label in set(labels)]
    easy = sorted((order.index(i), -p) for p, i in enumerate(filled)
                  if i not in hard and i not in hardest_of_class)[::-1]
    result, repeated = list(filled), set()
    for record in [i for i in hard for place in places if place == i]:
        if easy:
            result[-easy.pop(0)[1]] = record
            repeated.add(record)
    return result, sorted(left_out), sorted(repeated)


@pytest.mark.parametrize("seed", range(30))
def test_choice_equals_the_slow_way(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 30))
    labels = random.integers(0, random.integers(1, 6), n)
    losses = random.choice([0, 0.5, 1, np.inf, np.nan, *random.exponential(size=5)], n)  # with ties
    places = np.repeat(np.arange(n), random.integers(1, 4, n))
    drop, hardest = (float(random.choice([0, 0.02, 0.1, 0.5])) for _ in range(2))
    filled, out, _ = choose_examples(places, labels, losses, drop, 0, [seed, 3])
    result, left_out, repeated = choose_examples(places, labels, losses, drop, hardest, [seed, 3])
    slow, slow_out, slow_repeated = choose_slowly(places, labels, losses, drop, hardest, filled)
    assert np.flatnonzero(left_out).tolist() == slow_out == np.flatnonzero(out).tolist()
    assert result.tolist() == slow and np.flatnonzero(repeated).tolist() == slow_repeated
    kept = ~np.isin(places, slow_out)
    assert (filled[kept] == places[kept]).all() and not np.isin(filled, slow_out).any()
    assert (labels[filled] == labels[places]).all()
    assert set(labels[result]) == set(labels)


def test_what_takes_a_place_is_drawn_evenly_from_its_class():
    labels, losses = np.arange(100) % 2, np.arange(100)
    places = np.repeat(np.arange(100), 100)
    filled, left_out, _ = choose_examples(places, labels, losses, 0.5, 0, 1)
    assert np.flatnonzero(left_out).tolist() == list(range(50, 100))
    counts = np.bincount(filled, minlength=100)
    assert counts[50:].sum() == 0 and (np.abs(counts[:50] - 200) < 60).all()
    assert (filled != choose_examples(places, labels, losses, 0.5, 0, 2)[0]).any()


def test_half_hard_and_half_out_still_fill_an_epoch():
    labels, losses = np.zeros(8, int), np.arange(8)
    result, left_out, repeated = choose_examples(np.arange(8), labels, losses, 0.5, 0.5, 0)
    assert len(result) == 8 and set(result) <= {0, 1, 2, 3}
    assert np.flatnonzero(repeated).tolist() == [2, 3]


@pytest.mark.parametrize("n", [0, 1, 40, 300])
def test_excess_is_what_ridge_regression_leaves(n, monkeypatch):
    monkeypatch.setattr(example_choice, "BLOCK", 64)
    random = np.random.default_rng(n)
    labels = (random.random((n, 7)) < 0.3).astype(np.uint8)
    labels[:, 6] = 0  # a label that nobody has
    losses = random.exponential(size=n) + labels @ np.arange(7)
    # As least squares with a row for each amount that says it is 0.
    rows = np.vstack([np.hstack([labels, np.ones((n, 1))]), np.eye(8)])
    amounts = np.linalg.lstsq(rows, np.append(losses, np.zeros(8)), rcond=None)[0]
    np.testing.assert_allclose(excess_losses(losses, labels), losses - rows[:n] @ amounts, atol=1e-9)


def test_many_or_rare_labels_alone_are_no_excess():
    random = np.random.default_rng(3)
    labels = (random.random((500, 20)) < np.linspace(0.02, 0.4, 20)).astype(np.uint8)
    losses = labels @ np.linspace(3, 0.5, 20) + 0.1 * random.random(500)
    losses[7] += 1  # less than what images of many labels have
    losses[8], losses[9] = np.inf, np.nan
    assert np.argmax(np.where(np.isfinite(losses), excess_losses(losses, labels), 0)) == 7
    assert excess_losses(losses, labels)[8] == np.inf and np.isnan(excess_losses(losses, labels)[9])


WRONG = ("000_0", "111_3")  # of the first class, in the folder of the second, and the other way round
SMALL = ["--backbone=wide_resnet10_2", "--n_epochs=5", "--batch_size=12", "--lr=0.05", "--job=train",
         "--losses_after_epochs=3,4", "--drop_worst=0.05", "--mine_hardest=0.1", "--mixup=0.2",
         "--oversample_to=30", "--checkpoint_every_steps=2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    make_classes(folder / "set", classes=2, per_class=20)
    for name in WRONG:
        own, other = (f"{c}" for c in (name[0], 1 - int(name[0])))
        (folder / "set" / f"class{own}" / f"{name}.png").rename(
            folder / "set" / f"class{other}" / f"{name}.png")
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=16",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--channels=1",
                           "--workers=1"])
    return folder / "store"


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run.main([*SMALL, f"--data_tfrec_dir={store}", f"--run_dir={folder}"])
    return folder


def table(folder, epoch):
    with open(folder / "example_losses" / f"after_epoch_{epoch:03d}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_are_found_and_left_out(trained, store):
    assert sorted(p.name for p in (trained / "example_losses").iterdir()) == [
        "after_epoch_003.csv", "after_epoch_004.csv"]
    for epoch in (3, 4):
        rows = table(trained, epoch)
        assert list(rows[0]) == ["id", "label", "loss", "left_out", "repeated"] and len(rows) == 40
        losses = [float(row["loss"]) for row in rows]
        assert losses == sorted(losses, reverse=True)
        assert {row["id"] for row in rows[:2]} == {"class1/000_0.png", "class0/111_3.png"}
        assert [row["label"] for row in rows] == [row["id"][:6] for row in rows]
        assert [row["left_out"] for row in rows] == ["1"] * 2 + ["0"] * 38
        assert [row["repeated"] for row in rows] == ["0"] * 2 + ["1"] * 4 + ["0"] * 34
    last = {row["id"]: float(row["loss"]) for row in rows}
    assert last["class1/000_0.png"] > 2 * max(losses[2:])


def test_a_resumed_run_goes_on_with_the_same_records(trained, store, tmp_path, monkeypatch, capsys):
    """Interrupted with the last step of an epoch, before its losses are there, and in the epoch after a
    choice."""
    folder, check_loss = tmp_path / "run", Training._check_loss
    for at in (3 * 6, 4 * 6 + 2):
        def interrupting(self):
            check_loss(self)
            if self.progress.step == at:
                os.kill(os.getpid(), signal.SIGTERM)
        with monkeypatch.context() as patch:
            patch.setattr(Training, "_check_loss", interrupting)
            with pytest.raises(SystemExit):
                run.main([*SMALL, f"--data_tfrec_dir={store}", f"--run_dir={folder}"])
        assert f"interrupted at step {at}" in capsys.readouterr().err
        (folder / ".lock").unlink()  # which the process would have let go of with its end
    run.main([*SMALL, f"--data_tfrec_dir={store}", f"--run_dir={folder}"])
    output = capsys.readouterr().out
    assert "resuming" in output and "losses after" not in output
    same_end(trained, folder)


def same_end(one, two):
    for name in ("log.csv", "example_losses/after_epoch_003.csv", "example_losses/after_epoch_004.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for ours, other in zip(*(read_layers(folder / "checkpoints" / "last.h5").layers
                             for folder in (one, two)), strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours.arrays, other.arrays, strict=True))


def of_run(folder, **options):
    """ExampleLosses of 10 steps an epoch over records a, b, c, d; b has two places."""
    options = {"losses_after_epochs": [2, 3], "drop_worst": 0.25, "mine_hardest": 0.0, "seed": 1} | options
    return ExampleLosses(types.SimpleNamespace(
        options=types.SimpleNamespace(**options), labels=np.zeros(9, int),
        run=types.SimpleNamespace(folder=folder), class_names=["k"],
        store=types.SimpleNamespace(manifest={"id": pd.Series(list("xaxbxcxdx"))})),
        np.array([1, 3, 3, 5, 7]), 10)


def written(folder, monkeypatch, chief=True):
    examples = of_run(folder)
    monkeypatch.setattr(examples, "_measure", lambda model: np.array([0.1, 1 / 3, np.nan, 1e-7]))
    monkeypatch.setattr("jobs.example_losses.is_chief", lambda: chief)
    assert examples(None, 1, {}) is False and examples(None, 2, {}) is True
    return examples


def test_rows_are_those_of_the_last_choice_before_a_step(tmp_path, monkeypatch):
    examples = written(tmp_path, monkeypatch)
    text = (tmp_path / "example_losses" / "after_epoch_002.csv").read_text()
    assert text.splitlines()[1:3] == ["c,k,nan,1,0", f"b,k,{1 / 3},0,0"]
    assert examples.drawn(19).tolist() == [1, 3, 3, 5, 7]
    chosen = examples.drawn(20).tolist()
    assert chosen[:3] + chosen[4:] == [1, 3, 3, 7] and chosen[3] in (1, 3, 7)
    assert of_run(tmp_path).drawn(29).tolist() == chosen  # from the file
    assert of_run(tmp_path, drop_worst=0.0).drawn(29).tolist() == [1, 3, 3, 5, 7]
    with pytest.raises(RunError, match="after_epoch_003.csv, from which the run goes on, is missing"):
        of_run(tmp_path).drawn(30)


@pytest.mark.parametrize("old, new", [("b,k", "e,k"), ("nan", "five"), ("c,k,nan,1,0\n", ""), ("loss", "l")])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, old, new):
    written(tmp_path, monkeypatch)
    path = tmp_path / "example_losses" / "after_epoch_002.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunError, match="after_epoch_002.csv.* damaged"):
        of_run(tmp_path).drawn(20)


def test_other_workers_choose_the_same_and_write_nothing(tmp_path, monkeypatch):
    chief = written(tmp_path / "chief", monkeypatch)
    other = written(tmp_path / "other", monkeypatch, chief=False)
    assert other.drawn(25).tolist() == chief.drawn(25).tolist()
    assert not (tmp_path / "other").exists()
