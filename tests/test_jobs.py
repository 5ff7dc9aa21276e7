"""run.py from end to end on small stores, in this process, and as a user where the exit matters."""
import json
import socket
import time

import numpy as np
import pytest

import create_tfrecords
import run
from inference.predict import load_predictions, save_predictions
from jobs.run_directory import RunError, plan_run
from records.store import open_store
from tests.helpers import make_classes, make_kaggle, run_module

SMALL = ["--backbone=wide_resnet10_2", "--n_epochs=3", "--batch_size=12", "--lr=0.05"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    make_classes(folder / "set", per_class=24)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=16",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--channels=1",
                           r"--group_regex=_(\d)\.png$", "--val_split=last=3", "--n_folds=3",
                           "--workers=1"])
    return folder / "store"


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    run.main([*SMALL, f"--data_tfrec_dir={store}", "--split=last", f"--run_dir={folder}",
              "--job=train,val", "--n_epochs=8"])
    return folder


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run.main([str(a) for a in arguments])
    assert str(stop.value).startswith("run.py: ")
    return str(stop.value)


def test_run_directory_is_complete(trained, store):
    info = json.loads((trained / "run.json").read_text())
    dataset = json.loads((store / "dataset.json").read_text())
    assert info["finished"] and info["class_names"] == dataset["class_names"]
    assert info["dataset"]["fingerprint"] == dataset["fingerprint"]
    assert info["dataset"]["packing"]["size"] == 16
    assert info["input"] == {"size": 16, "channels": 1, "mean": dataset["mean"],
                             "std": dataset["std"]}
    assert info["options"]["lr"] == 0.05 and info["versions"]["tensorflow"].startswith("2.")
    assert {p.name for p in trained.iterdir()} >= {"checkpoints", "log.csv", "tensorboard"}
    assert info["validation"]["accuracy"] > 0.9  # bright rows are easy


def test_val_gives_the_figures_of_the_best_epoch(trained, store, capsys):
    best = json.loads((trained / "checkpoints" / "best.json").read_text())
    run.main([f"--data_tfrec_dir={store}", "--split=last", f"--run_dir={trained}", "--job=val",
              "--batch_size=5"])
    assert f"accuracy {best['val_accuracy']:.4f} on 18 records" in capsys.readouterr().out


def test_another_split_of_the_same_store_is_refused(trained, store, capsys):
    assert "another validation would hold what it was trained on" in refused(
        capsys, f"--data_tfrec_dir={store}", "--val_fold=0", f"--run_dir={trained}", "--job=val")


def test_a_folder_is_taken_by_one_of_two_runs(tmp_path):
    first, second = (plan_run(tmp_path / "run", False, "auto", {}) for _ in range(2))
    first.create()
    with pytest.raises(RunError, match="is being trained by another process"):
        second.create()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is False


def test_one_epoch_is_enough(store, tmp_path):
    run.main([*SMALL, "--n_epochs=1", f"--data_tfrec_dir={store}", "--split=last", "--job=train",
              f"--run_dir={tmp_path / 'run'}"])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]


def test_training_twice_gives_the_same_bits(store, tmp_path):
    for name in "ab":
        run.main([*SMALL, f"--data_tfrec_dir={store}", "--split=last", "--mixup=0.2", "--erase=0.5",
                  "--rotate=10", f"--run_dir={tmp_path / name}", "--job=train", "--cache=" +
                  {"a": "decoded", "b": "encoded"}[name]])
    logs = [(tmp_path / name / "log.csv").read_text() for name in "ab"]
    assert logs[0] == logs[1]


def test_predictions_are_of_every_record_by_id(trained, store):
    run.main([f"--data_tfrec_dir={store}", f"--run_dir={trained}", "--job=test"])
    names = [f"class{i}" for i in range(3)]
    ids = [f"class{c}/{c}{n:02d}_{n % 4}.png" for c in (2, 0, 1) for n in range(24)]
    classes, logits = load_predictions(trained / "predictions" / "train.npz", ids,
                                       open_store(store).info["manifest_sha256"])
    assert classes == names
    assert (logits.argmax(1) == np.repeat([2, 0, 1], 24)).mean() > 0.9


def test_taken_absent_and_unfit_runs_are_refused(trained, store, tmp_path, capsys, monkeypatch):
    base = [*SMALL, f"--data_tfrec_dir={store}", "--split=last"]
    assert "--overwrite" in refused(capsys, *base, f"--run_dir={trained}", "--job=train")
    assert "no run at" in refused(capsys, *base, f"--run_dir={tmp_path / 'x'}", "--job=val")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, *base, "--job=train",
                                          f"--run_dir={tmp_path / 'file' / 'run'}")
    assert "is no run" in refused(capsys, *base, f"--run_dir={tmp_path / 'mine'}", "--job=train",
                                  "--overwrite")
    assert (tmp_path / "mine" / "notes.txt").exists()
    monkeypatch.chdir(tmp_path)
    assert "no finished run of --task=classify in runs/" in refused(capsys, *base, "--job=val")


def test_other_classes_are_refused(trained, tmp_path, capsys):
    make_classes(tmp_path / "set", classes=2)
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                           f"--out_dir={tmp_path / 'store'}", "--n_folds=2", "--workers=1",
                           "--channels=1"])
    assert "other classes than the run" in refused(
        capsys, f"--data_tfrec_dir={tmp_path / 'store'}", "--val_fold=0", f"--run_dir={trained}",
        "--job=val")


def test_stores_that_were_cut_otherwise_are_refused(trained, tmp_path, capsys):
    make_classes(tmp_path / "set")
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=20",
                           f"--out_dir={tmp_path / 'store'}", "--margin=0.2", "--channels=1",
                           "--workers=1"])
    message = refused(capsys, f"--data_tfrec_dir={tmp_path / 'store'}", f"--run_dir={trained}",
                      "--job=test")
    assert "packed with size 20 (the run: 16), margin 0.2 (the run: 0.05)" in message


@pytest.mark.parametrize("arguments, says", [
    (["--backbone=resnet512"], "did you mean"), (["--weights=gone.h5"], "gone.h5"),
    (["--batch_size=4000"], "an epoch has only 54 records"), (["--split=books"], "the store has last"),
    (["--dim_pre=99"], "repack with --size=99"), (["--n_channels=3"], "give --mean and --std"),
    (["--cache=decoded", "--data_tfrec_dir=nowhere"], "no packed store at nowhere")])
def test_wrong_wishes_end_before_training(store, tmp_path, capsys, arguments, says):
    folder = tmp_path / "run"
    message = refused(capsys, *SMALL, f"--data_tfrec_dir={store}", "--split=last",
                      f"--run_dir={folder}", *arguments)
    assert says in message
    assert not folder.exists()


def classified_pages(folder, truth, tmp_path, image_folder="train"):
    """A test store of the pages and a run whose predictions are the truth."""
    create_tfrecords.main(["--source=test", f"--data_dir={folder}", f"--csv={folder / 'train.csv'}",
                           f"--image_dir={folder / f'{image_folder}_images'}", "--size=16",
                           f"--out_dir={tmp_path / 'test'}", "--denoise=off", "--workers=1"])
    labels = {f"{page}:{i}": box[0] for page, boxes in truth.items() for i, box in enumerate(boxes)}
    names = sorted(set(labels.values()))
    made = plan_run(tmp_path / "run", False, "auto", {}, task="classify", class_names=names, input={},
                    network={}, dataset={})
    made.create()
    (made.folder / "predictions").mkdir()
    ids = sorted(labels, reverse=True)  # another order than the store's
    save_predictions(made.folder / "predictions" / "test.npz", ids, names,
                     np.array([[9.0 * (labels[i] == name) for name in names] for i in ids]),
                     open_store(tmp_path / "test").info["manifest_sha256"])
    return made.folder


def test_truth_round_trip_scores_one(tmp_path, capsys):
    truth = make_kaggle(tmp_path / "kaggle")
    with open(tmp_path / "kaggle" / "train.csv", "a") as file:
        file.write("a_empty,\n")  # a page with only a drawing
    first = tmp_path / "kaggle" / "train_images"
    (first / "a_empty.jpg").write_bytes((first / "a_0.jpg").read_bytes())
    folder = classified_pages(tmp_path / "kaggle", truth, tmp_path)
    run.main([f"--data_tfrec_dir={tmp_path / 'test'}", f"--run_dir={folder}", "--job=submit,score",
              f"--data_dir={tmp_path / 'kaggle'}", f"--truth_csv={tmp_path / 'kaggle/train.csv'}"])
    assert "F1 1.0000" in capsys.readouterr().out
    rows = (folder / "submission.csv").read_text().splitlines()
    assert rows[-1] == "a_empty," and len(rows) == 6
    assert json.loads((folder / "run.json").read_text())["score"]["f1"] == 1.0
    assert list(folder.glob("page_*.png"))


def test_real_page_round_trip_scores_one(test_data, tmp_path, capsys):
    from records.annotations import read_truth
    source = test_data / "kuzushiji_page"
    truth = {page: [(label, *box) for label, box in zip(*both)]
             for page, both in read_truth(source / "train.csv").items()}
    folder = classified_pages(source, truth, tmp_path)
    run.main([f"--data_tfrec_dir={tmp_path / 'test'}", f"--run_dir={folder}", "--job=submit,score",
              f"--truth_csv={source / 'train.csv'}"])
    assert "F1 1.0000 (precision 1.0000, recall 1.0000; 67 of 67" in capsys.readouterr().out


def silent_server():
    """A server on loopback that accepts and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"grpc://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("which", ["name", "silent"])
def test_unreachable_tpu_ends_soon_named_and_untrained(store, tmp_path, which):
    server, address = silent_server()
    with server:
        tpu = {"name": "no-such-tpu", "silent": address}[which]
        start = time.monotonic()
        done = run_module("run.py", *SMALL, f"--data_tfrec_dir={store}", "--split=last",
                          f"--run_dir={tmp_path / 'run'}", f"--tpu_ip_or_name={tpu}")
    assert time.monotonic() - start < 60
    assert done.returncode == 1 and f"TPU '{tpu}' cannot be reached" in done.stderr
    assert "--tpu_ip_or_name=None" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_replicas_train_and_validate_alike(store, tmp_path):
    """The whole job under MirroredStrategy: every record is validated once, the loss is close."""
    done = run_module("run.py", *SMALL, f"--data_tfrec_dir={store}", "--split=last",
                      f"--run_dir={tmp_path / 'run'}", "--cpu_replicas=2")
    assert done.returncode == 0, done.stderr[-2000:]
    accuracy = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]["accuracy"]
    alone = run_module("run.py", f"--data_tfrec_dir={store}", "--split=last", "--job=val",
                       f"--run_dir={tmp_path / 'run'}", "--cpu_replicas=2")
    assert "device: CPU as 2" in alone.stdout and alone.returncode == 0, alone.stderr[-2000:]
    run.main([f"--data_tfrec_dir={store}", "--split=last", f"--run_dir={tmp_path / 'run'}",
              "--job=val"])
    again = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]["accuracy"]
    assert again == pytest.approx(accuracy, abs=1e-6)
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]
    assert figures["loss"] == pytest.approx(best["val_loss"], rel=1e-4)  # BatchNorm of 2 replicas
