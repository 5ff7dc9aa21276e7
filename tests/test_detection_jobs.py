"""run.py --task=detect from end to end on small stores: what it leaves, and what it refuses."""
import json

import numpy as np
import pandas as pd
import pytest

import create_tfrecords
import run
from inference.submissions import read_submission
from jobs.detection import Finder, centre_figures
from jobs.options import parse
from jobs.session import Session
from records.detections import read_detections
from tests.helpers import make_classes, make_kaggle, run_module

DETECT = ["--task=detect", "--backbone=wide_resnet10_2", "--stem_stride=2", "--pyramid_channels=8",
          "--head_channels=8", "--class_channels=8", "--dim=64", "--batch_size=2", "--n_epochs=2",
          "--crops_per_page=2", "--max_characters=8", "--lr=1e-3", "--scales=0.75,1",
          "--max_peaks=20", "--rotate=5", "--noise=0.1", "--gray=0.5"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detect")
    truth = make_kaggle(folder / "kaggle")
    with open(folder / "kaggle" / "train.csv", "a") as file:
        file.write("a_empty,\n")  # a page with only a drawing
    images = folder / "kaggle" / "train_images"
    (images / "a_empty.jpg").write_bytes((images / "a_0.jpg").read_bytes())
    (folder / "kaggle" / "test_images").symlink_to(images)
    packing = [f"--data_dir={folder / 'kaggle'}", "--records=pages", "--size=128", "--workers=1"]
    create_tfrecords.main([*packing, f"--out_dir={folder / 'train'}", "--val_split=b=b"])
    create_tfrecords.main([*packing, f"--out_dir={folder / 'test'}", "--source=test"])
    run.main([*DETECT, f"--data_tfrec_dir={folder / 'train'}", "--split=b", "--job=train,val",
              f"--run_dir={folder / 'run'}"])
    return folder, truth


def refused(*arguments):
    with pytest.raises(SystemExit) as stop:
        run.main([str(a) for a in arguments])
    assert str(stop.value).startswith("run.py: ")
    return str(stop.value)


def test_run_directory_is_complete(places):
    folder, _ = places
    info = json.loads((folder / "run" / "run.json").read_text())
    assert info["task"] == "detect" and info["finished"] and info["classes"] == "branch"
    assert info["network"]["n_classes"] == 3 and info["input"]["size"] == 64
    assert {"f1", "centre_precision", "centre_recall", "ap", "ap50", "class_ap"} <= set(
        info["validation"])
    log = pd.read_csv(folder / "run" / "log.csv")
    assert {"loss", "heatmap", "class", "size", "offset", "left_out", "val_f1"} <= set(log)


def test_detections_are_on_their_pages_by_id(places, tmp_path, capsys):
    """A network this small finds what it likes: with no threshold, something on every page."""
    folder, truth = places
    run.main([*DETECT, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={folder / 'run'}",
              "--threshold=0", "--nms_iou=None", "--job=detect,submit,score",
              f"--data_dir={folder / 'kaggle'}", f"--truth_csv={folder / 'kaggle' / 'train.csv'}"])
    out = capsys.readouterr().out
    assert "more than --max_peaks=20 centres on 5 pages" in out and "scored: F1" in out
    found = read_detections(folder / "run" / "detections" / "test.csv")
    assert set(found["image_id"]) <= {*truth, "a_empty"} and len(found) > 20
    assert set(found["label"]) <= {"U+3042", "U+3043", "U+3044"}
    assert (found[["w", "h"]] >= 1).all(None)
    for corner, side, page_side in (("x", "w", 140), ("y", "h", 180)):  # centres are on the page
        assert (found[corner] + found[side] / 2).between(0, page_side).all()
    submission = read_submission(folder / "run" / "submission.csv")
    assert set(submission) == {*truth, "a_empty"}
    assert sum(len(labels) for labels, _ in submission.values()) == len(found)
    assert list((folder / "run").glob("page_*.png"))
    score = json.loads((folder / "run" / "run.json").read_text())["score"]
    assert {"f1", "centre_recall", "ap", "class_ap"} <= set(score)


@pytest.mark.slow
def test_finding_the_same_on_two_devices(places, tmp_path):
    folder, _ = places
    arguments = [*DETECT, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={folder / 'run'}",
                 "--threshold=0", "--job=detect"]
    done = run_module("run.py", *arguments, "--cpu_replicas=2", f"--data_preds_dir={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    run.main([*arguments, f"--data_preds_dir={tmp_path / 'one'}"])
    two, one = (read_detections(place / "test.csv") for place in (tmp_path, tmp_path / "one"))
    assert len(one) > 20
    pd.testing.assert_frame_equal(one, two, atol=0.02)


@pytest.mark.slow
def test_training_runs_on_two_devices(places, tmp_path):
    folder, _ = places
    done = run_module("run.py", *DETECT, f"--data_tfrec_dir={folder / 'train'}", "--n_epochs=1",
                      "--cpu_replicas=2", f"--run_dir={tmp_path / 'run'}", "--job=train")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "CPU as 2 logical devices" in done.stdout


def test_characters_beyond_the_room_are_reported(places, tmp_path, capsys):
    folder, _ = places
    run.main([*DETECT, f"--data_tfrec_dir={folder / 'train'}", "--max_characters=1", "--dim=128",
              f"--run_dir={tmp_path / 'run'}", "--job=train", "--n_epochs=1"])
    out = capsys.readouterr().out
    left_out = pd.read_csv(tmp_path / "run" / "log.csv")["left_out"][0]
    assert left_out > 5
    assert f"warning: {left_out:.0f} characters did not fit in --max_characters=1" in out


def test_a_detector_without_classes_finds_boxes_to_be_read(places, tmp_path, capsys):
    folder, _ = places
    no_classes = [option for option in DETECT if "--class" not in option] + ["--classes=none"]
    run.main([*no_classes, f"--data_tfrec_dir={folder / 'train'}", "--split=b",
              f"--run_dir={tmp_path / 'run'}", "--job=train,val"])
    assert "centres" in capsys.readouterr().out
    test = [*DETECT, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={tmp_path / 'run'}",
            "--threshold=0", f"--truth_csv={folder / 'kaggle' / 'train.csv'}"]
    run.main([*test, "--job=detect,score"])
    found = tmp_path / "run" / "detections" / "test.csv"
    frame = read_detections(found)
    assert (frame["label"] == "").all() and len(frame)
    assert "reads no characters in them" in refused(*test, "--job=submit")
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--source=test", "--size=16",
                           f"--detections={found}", f"--out_dir={tmp_path / 'crops'}",
                           "--denoise=off", "--workers=1"])
    assert f"{len(frame)} records" in capsys.readouterr().out


@pytest.mark.slow
def test_an_hourglass_with_a_heatmap_per_class_from_coco(tmp_path, capsys):
    random = np.random.default_rng(0)
    import cv2
    (tmp_path / "images").mkdir()
    coco = {"categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
            "images": [], "annotations": []}
    for number in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"),
                    random.integers(0, 255, (64, 80, 3), np.uint8))
        coco["images"].append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 64})
        for box in range(number):  # the first has none
            coco["annotations"].append({
                "id": 10 * number + box, "image_id": number, "category_id": (7, 3)[box % 2],
                "bbox": [5 + 10 * box, 10.5, 20, 30], "iscrowd": 0, "area": 600})
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    create_tfrecords.main(["--format=coco", f"--json={tmp_path / 'coco.json'}", "--size=64",
                           f"--data_dir={tmp_path / 'images'}", "--n_folds=2", "--workers=1",
                           f"--image_dir={tmp_path / 'images'}", f"--out_dir={tmp_path / 'store'}"])
    run.main(["--task=detect", f"--data_tfrec_dir={tmp_path / 'store'}", "--val_fold=0",
              "--architecture=hourglass_small", "--classes=heatmap", "--centre_kernel=gaussian",
              "--heatmap_loss=focal", "--dim=64", "--batch_size=1", "--n_epochs=1", "--scales=1",
              "--threshold=0.01", f"--run_dir={tmp_path / 'run'}", "--job=train,val"])
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["network"] == {"architecture": "hourglass_small", "n_heatmaps": 2, "n_classes": 0,
                               "class_channels": 512, "class_dropout": 0.5}
    assert "mean over classes" in capsys.readouterr().out


def test_wrong_stores_and_runs_are_refused(places, tmp_path):
    folder, _ = places
    make_classes(tmp_path / "set", per_class=4)
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                           f"--out_dir={tmp_path / 'store'}", "--workers=1"])
    assert "--task=detect is for pages" in refused(
        *DETECT, f"--data_tfrec_dir={tmp_path / 'store'}", "--job=train")
    assert "--task=detect is for pages" in refused(f"--data_tfrec_dir={folder / 'train'}",
                                                   "--job=train")
    assert "is a run of --task=detect" in refused(
        f"--data_tfrec_dir={tmp_path / 'store'}", f"--run_dir={folder / 'run'}", "--job=test")
    assert "is more than the pages' 128 px" in refused(
        *DETECT, f"--data_tfrec_dir={folder / 'train'}", "--dim=256", "--job=train")
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--records=pages", "--size=96",
                           f"--out_dir={tmp_path / 'other'}", "--source=test", "--workers=1"])
    assert "was packed with size 96 (the run: 128)" in refused(
        *DETECT, f"--data_tfrec_dir={tmp_path / 'other'}", f"--run_dir={folder / 'run'}",
        "--job=detect")
    assert not (tmp_path / "run").exists()


def test_boxes_go_back_to_the_pages_pixels(places):
    """What lies in the padding is dropped; what sticks out keeps its centre; 1 px at least."""
    folder, _ = places
    session = Session(parse([*DETECT, f"--data_tfrec_dir={folder / 'test'}", "--job=detect",
                             f"--run_dir={folder / 'run'}"]))
    finder = Finder(session, session.model, [1.0])
    letterbox = finder.boxes["a_0"]  # 140 x 180 px in 128 x 128, padded to the right or bottom
    sx, sy = letterbox.scale
    boxes = np.array([[10, 20, 30, 50], [-4, 60, 16, 90], [500, 500, 510, 510]], np.float32)
    assert letterbox.width == 140
    corners = boxes.reshape(-1, 2, 2) * [sx, sy]
    found = {"count": 3, "score": np.array([0.9, 0.8, 0.7]), "class_id": np.array([1, 0, 2]),
             "class_score": np.array([0.5, 0.6, 0.7]), "boxes": corners.reshape(-1, 4),
             "centres": corners.mean(1)}
    frame = finder._frame("a_0", found)
    np.testing.assert_allclose(frame[list("xywh")], [[10, 20, 20, 30], [-4, 60, 20, 30]], atol=0.01)
    assert frame["label"].tolist() == ["U+3043", "U+3042"]


def test_detections_of_another_run_or_store_are_refused(places, tmp_path):
    folder, _ = places
    test = [*DETECT, "--threshold=0", f"--data_preds_dir={tmp_path / 'found'}",
            f"--truth_csv={folder / 'kaggle' / 'train.csv'}"]
    run.main([*test, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={folder / 'run'}",
              "--job=detect,score"])
    run.main([*DETECT, f"--data_tfrec_dir={folder / 'train'}", "--n_epochs=1", "--job=train",
              f"--run_dir={tmp_path / 'other'}"])
    assert "is of another run or store" in refused(
        *test, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={tmp_path / 'other'}",
        "--job=submit")
    with open(folder / "kaggle" / "train.csv") as file:
        (tmp_path / "fewer.csv").write_text("".join(file.readlines()[:3]))
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", f"--csv={tmp_path / 'fewer.csv'}",
                           "--records=pages", "--size=128", "--source=test", "--workers=1",
                           f"--out_dir={tmp_path / 'fewer'}"])
    assert "is of another run or store" in refused(
        *test, f"--data_tfrec_dir={tmp_path / 'fewer'}", f"--run_dir={folder / 'run'}", "--job=score")
    (tmp_path / "found" / "test.json").unlink()
    assert "no detections at" in refused(
        *test, f"--data_tfrec_dir={folder / 'test'}", f"--run_dir={folder / 'run'}", "--job=score")


def test_figures_of_a_page_read_half(places):
    truth = {"p": (["a", "b"], np.array([[0, 0, 10, 10], [20, 0, 10, 10]])), "q": ([], np.zeros((0, 4)))}
    found = {"p": (["a", "c"], np.array([[1.0, 1, 8, 8], [21, 1, 8, 8]]), np.array([0.9, 0.8])),
             "q": ([], np.zeros((0, 4)), np.zeros(0))}
    figures = centre_figures(truth, found, reads=True)
    assert figures["centre_recall"] == figures["centre_precision"] == 1 and figures["f1"] == 0.5
