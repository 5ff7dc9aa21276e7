"""The scripts at the top, run as a user runs them, on demo pages small enough for a test."""
import csv
import json
import os
import subprocess

import cv2
import pytest

from records import demo_pages
from tests.helpers import needs_opencv_5

pytestmark = needs_opencv_5  # for its demo pages

FAST = ["--n_epochs=2", "--dim=24", "--backbone=wide_resnet10_2", "--oversample_to=0"]
DETECTOR = "recipes/demo/detect.args"
FAST_DETECTOR = ["--backbone=wide_resnet10_2", "--stem_stride=2", "--pyramid_channels=16",
                 "--head_channels=16", "--class_channels=16"]


def script(name, *arguments, **environment):
    return subprocess.run(["bash", name, *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | {k: str(v) for k, v in environment.items()})


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    demo_pages.main([f"--out_dir={folder / 'pages'}", "--train_pages=5", "--test_pages=2",
                     "--books=4", "--test_books=1", "--classes=12", "--page_height=500"])
    return {"DATA_DIR": folder / "pages", "STORES": folder / "store", "RUN_DIR": folder / "run",
            "DETECTOR": ""}


def test_training_then_inference(places):
    done = script("run_training.sh", *FAST, **places)
    assert done.returncode == 0, done.stderr[-3000:]
    last = done.stdout.strip().splitlines()[-1]
    assert f"validated: {places['RUN_DIR']}, accuracy 0." in last
    assert f"next: RUN_DIR={places['RUN_DIR']} bash run_inference.sh" in last
    assert json.loads((places["RUN_DIR"] / "run.json").read_text())["options"]["dim"] == 24

    truth = places["DATA_DIR"] / "test.csv"
    missing = script("run_inference.sh", **places)
    assert missing.returncode == 1 and "what finds the characters?" in missing.stderr
    done = script("run_inference.sh", BOXES_CSV=truth, TRUTH_CSV=truth, **places)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "scored: F1 0." in done.stdout and "centres, whatever" in done.stdout
    with open(places["RUN_DIR"] / "submission.csv") as ours, open(truth) as theirs:
        ours, theirs = list(csv.DictReader(ours)), list(csv.DictReader(theirs))
    assert [r["image_id"] for r in ours] == [r["image_id"] for r in theirs]
    assert [len(r["labels"].split()) / 3 for r in ours] == \
        [len(r["labels"].split()) / 5 for r in theirs]
    page = cv2.imread(str(next(places["RUN_DIR"].glob("page_*.png"))))
    assert min(page.shape[:2]) >= 1000 and ((page == (40, 40, 220)).all(2)).any()  # errors in red


def test_a_recipe_without_its_data_is_refused():
    done = script("run_training.sh", RECIPE="recipes/omniglot/classify.args")
    assert done.returncode == 1 and "give DATA_DIR=FOLDER" in done.stderr


def test_wrong_options_are_refused_before_anything_is_packed(places, tmp_path):
    new = places | {"STORES": tmp_path / "new"}
    for name in ("run_training.sh", "run_inference.sh"):
        done = script(name, "--bach_size=3", **new | {"BOXES_CSV": "x"})
        assert done.returncode == 2 and "did you mean --batch_size" in done.stderr
        for code, says, arguments, more in (
                (1, "cannot be for recipes/demo/detect.args and for", ["--run_dir=x"],
                 {"DETECTOR": DETECTOR}),
                (2, "DETECTOR_OPTIONS has those", ["--mixup=0.2"], {"DETECTOR": DETECTOR}),
                (1, "there is no recipe none.args", [], {"RECIPE": "none.args"})):
            done = script(name, *arguments, **new | more)
            assert done.returncode == code and says in done.stderr, done.stderr
    for says, more in (("leave out recipes/demo/detect.args", {"RECIPE": DETECTOR, "BOXES_CSV": "x"}),
                       ("finds by itself", {"RECIPE": DETECTOR, "DETECTOR": DETECTOR})):
        done = script("run_inference.sh", **new | more)
        assert done.returncode == 1 and says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_second_packing_is_not_done_again(places):
    done = script("run_training.sh", *FAST, "--job=val", **places)
    assert done.returncode == 0 and "packed already" in done.stdout


@pytest.mark.slow
def test_a_detector_finds_then_a_classifier_reads(places, tmp_path):
    """Both ways of reading from the image alone; the networks are too small to read much."""
    detector = tmp_path / "detector"
    alone = places | {"RECIPE": DETECTOR, "RUN_DIR": detector}
    done = script("run_training.sh", *FAST_DETECTOR, "--n_epochs=3", "--crops_per_page=8", **alone)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"validated: {detector}, 1 pages: F1 " in done.stdout
    truth = places["DATA_DIR"] / "test.csv"
    unread = places["DATA_DIR"] / "test_unread.csv"
    done = script("run_inference.sh", "--threshold=0.05", TRUTH_CSV=truth, UNREAD_CSV=unread, **alone)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "scored: F1 " in done.stdout and "average precision" in done.stdout
    assert "on ruby" in done.stdout

    done = script("run_training.sh", *FAST, "--overwrite", **places)
    assert done.returncode == 0, done.stderr[-3000:]
    done = script("run_inference.sh", TRUTH_CSV=truth,
                  **places | {"DETECTOR": DETECTOR, "DETECTOR_RUN_DIR": detector,
                              "DETECTOR_OPTIONS": "--threshold=0.05"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("scored: F1 ") == 2
    found = list(csv.DictReader(open(places["STORES"] / "detections" / "detect" / "test.csv")))
    with open(places["RUN_DIR"] / "submission.csv") as file:
        read = {row["image_id"]: row["labels"].split()[::3] for row in csv.DictReader(file)}
    assert len(found) > 10 and sum(map(len, read.values())) == len(found)


STAGES = "scripts/kuzushiji"
TURTLES = "scripts/turtle"
ARTWORKS = "scripts/imet"
PRODUCTS = "scripts/cdiscount"


@pytest.mark.parametrize("stage, needed", [
    (f"{TURTLES}/02_train.sh", "01_pack.sh"), (f"{TURTLES}/03_predict.sh", "02_train.sh"),
    (f"{TURTLES}/04_submission.sh", "02_train.sh"),
    *((f"{ARTWORKS}/{stage}.sh", f"{needed}.sh") for stage, needed in (
        ("02_train", "01_pack"), ("03_predict", "02_train"), ("04_mean", "03_predict"), ("05_stack", "03_predict"),
        ("06_pseudo", "05_stack"), ("07_groups", "06_pseudo"), ("08_second_level", "07_groups"))),
    *((f"{PRODUCTS}/{stage}.sh", f"{needed}.sh") for stage, needed in (
        ("02_train", "01_pack"), ("03_products", "02_train"), ("04_text", "01_pack"), ("05_with_text", "04_text"),
        ("06_predict", "05_with_text"), ("07_submission", "06_predict"))),
    ("02_train_detector.sh", "01_pack.sh"), ("03_train_classifiers.sh", "01_pack.sh"),
    ("04_read_validation.sh", "02_train_detector.sh"), ("05_false_positives.sh", "04_read_validation.sh"),
    ("06_find_test.sh", "02_train_detector.sh"), ("07_read_test.sh", "05_false_positives.sh"),
    ("08_pseudo_labels.sh", "07_read_test.sh"), ("09_train_again.sh", "08_pseudo_labels.sh"),
    ("10_refine.sh", "09_train_again.sh"), ("11_submission.sh", "the stage that trains it")])
def test_a_stage_names_the_one_before_it(stage, needed, tmp_path):
    stage = stage if "/" in stage else f"{STAGES}/{stage}"
    done = script(stage, STORES=tmp_path / "stores", RUNS=tmp_path / "runs")
    assert done.returncode == 1 and f"{needed} first" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_system_is_refused():
    for name in ("run_training.sh", "run_inference.sh"):
        done = script(name, SYSTEM="kuzusiji")
        assert done.returncode == 1 and "the systems are cdiscount imet kuzushiji turtle" in done.stderr


@pytest.mark.parametrize("system", ["kuzushiji", "turtle", "imet", "cdiscount"])
def test_the_recipes_of_real_data_are_there_and_its_absence_is_told(system, tmp_path):
    done = script("run_training.sh", SYSTEM=system, DATA_DIR=tmp_path / "kaggle", STORES=tmp_path / "stores",
                  RUNS=tmp_path / "runs")
    assert done.returncode and str(tmp_path / "kaggle") in done.stderr, done.stderr
    assert "01_pack.sh: " not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_whole_of_system_a(tmp_path):
    """Every stage on small pages, once more from the test pages on, and the classifier of books."""
    demo_pages.main([f"--out_dir={tmp_path / 'pages'}", "--train_pages=24", "--test_pages=2", "--books=4",
                     "--test_books=1", "--classes=12", "--page_height=500"])
    table = tmp_path / "runs/scores.csv"
    where = {"DATA_DIR": tmp_path / "pages", "STORES": tmp_path / "stores", "RUNS": tmp_path / "runs",
             "TRUTH_CSV": tmp_path / "pages/test.csv", "DETECTOR": DETECTOR, "TRIALS": 1,
             "RECIPES": "recipes/demo/classify.args recipes/demo/classify_second.args",
             "DETECTOR_OPTIONS": " ".join([*FAST_DETECTOR, "--n_epochs=4", "--threshold=0.1"]),
             "CLASSIFIER_OPTIONS": "--n_epochs=2 --backbone=wide_resnet10_2 --eval_crop=0.8571",
             "REFINE_OPTIONS": "--n_epochs=1 --lr=1e-3 --backbone=wide_resnet10_2 --eval_crop=0.8571",
             "PROBABILITY": 0.1}
    done = script("run_training.sh", "--seed=2", SYSTEM="kuzushiji", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader(open(table)))
    assert [row["name"] for row in rows] == [
        "detector + one classifier", "+ views (crops7)", "+ ensemble", "+ false-positive predictor",
        "+ pseudo labels", "+ refinement"]
    assert all(0 <= float(row["f1"]) <= 1 for row in rows)
    assert json.loads((tmp_path / "runs/refined/classify/run.json").read_text())["options"]["seed"] == 2
    last = tmp_path / "runs/refined/ensemble/submission.csv"
    before = last.read_bytes()
    done = script("run_inference.sh", "--seed=2", SYSTEM="kuzushiji", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert last.read_bytes() == before
    done = script(f"{STAGES}/12_book_titles.sh", TITLES="recipes/demo/book_titles.args",
                  OPTIONS="--n_epochs=2 --batch_size=4", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "distribution: 2 records over 4 classes" in done.stdout


@pytest.mark.slow
def test_the_whole_of_system_b(tmp_path):
    """Two networks in two folds each, then the test photographs once more, with another name."""
    from records import demo_turtles
    demo_turtles.main([f"--out_dir={tmp_path / 'turtles'}", "--known=6", "--others=2", "--photographs=6",
                       "--test_photographs=12", "--size=48"])
    where = {"DATA_DIR": tmp_path / "turtles", "STORES": tmp_path / "stores", "RUNS": tmp_path / "runs",
             "RECIPES": "recipes/demo/turtles.args recipes/demo/turtles_second.args", "N_FOLDS": 2, "TTA": 3,
             "TRUTH_CSV": tmp_path / "turtles/test_truth.csv",
             "TRAIN_OPTIONS": "--n_epochs=2 --batch_size=8 --backbone=wide_resnet10_2 --dim=24"}
    done = script("run_training.sh", "--seed=2", SYSTEM="turtle", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader(open(tmp_path / "runs/scores.csv")))
    assert [row["name"] for row in rows] == ["turtles", "turtles_second", "ensemble"]
    assert all(0 <= float(row["accuracy"]) <= float(row["map_at_5"]) <= 1 for row in rows)
    run = json.loads((tmp_path / "runs/folds/turtles/fold1/run.json").read_text())
    assert run["options"]["seed"] == 2 and len(run["known_classes"]) == 6
    submission = tmp_path / "runs/ensemble/submission.csv"
    before = submission.read_bytes()
    assert before.count(b"\n") == 13
    done = script("run_inference.sh", "--seed=2", SYSTEM="turtle", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert submission.read_bytes() == before


@pytest.mark.slow
def test_the_whole_of_system_c(tmp_path):
    """Both solutions on a few small artworks, then the test images once more."""
    from records import demo_artworks
    demo_artworks.main([f"--out_dir={tmp_path / 'imet'}", "--train_images=150", "--test_images=20", "--size=64"])
    where = {"DATA_DIR": tmp_path / "imet", "STORES": tmp_path / "stores", "RUNS": tmp_path / "runs",
             "RECIPES": "recipes/demo/artworks.args recipes/demo/artworks_third.args",
             "NOISY": "recipes/demo/artworks_noisy.args", "N_FOLDS": 2, "STACK_ROWS": 3000, "PROBABILITY": 0.05,
             "TRUTH_CSV": tmp_path / "imet/test_truth.csv",
             "TRAIN_OPTIONS": "--n_epochs=1 --warmup_epochs=0 --losses_after_epochs=1 --backbone=wide_resnet10_2 --dim=24",
             "GROUP_OPTIONS": "--n_epochs=1 --losses_after_epochs= --drop_worst=0 --mine_hardest=0"}
    done = script("run_training.sh", "--seed=2", SYSTEM="imet", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader(open(tmp_path / "runs/scores.csv")))
    names = ["artworks", "artworks_third", "weighted_mean", "stack_groups", "stack_all", "stack_both", "joined",
             "lightgbm"]
    assert [row["name"] for row in rows] == names
    assert all(0 <= float(row[figure]) <= 1 for row in rows for figure in ("f2", "f2_culture", "f2_tag"))
    submission = tmp_path / "runs/lightgbm/submission.csv"
    before = submission.read_bytes()
    assert before.startswith(b"id,attribute_ids\n") and before.count(b"\n") == 21
    done = script("run_inference.sh", "--seed=2", SYSTEM="imet", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert submission.read_bytes() == before


@pytest.mark.slow
def test_the_whole_of_system_e(tmp_path):
    """All steps on a few small products, then the test products once more."""
    from records import demo_products
    demo_products.main([f"--out_dir={tmp_path / 'products'}", "--level1=3", "--level2=2", "--level3=2",
                        "--products=12", "--test_products=3"])
    where = {"DATA_DIR": tmp_path / "products", "STORES": tmp_path / "stores", "RUNS": tmp_path / "runs",
             "RECIPES": "recipes/demo/products.args", "WITH_TEXT": "recipes/demo/products_text.args",
             "PRODUCTS": " ".join(f"recipes/demo/products{k}.args" for k in (1, 2, 3, 4)),
             "TEXT_BOXES": "recipes/demo/text_boxes.args", "WORDS": "recipes/demo/words.args",
             "COVERS": "--covers=24 --things=4 --words=80", "TRUTH_CSV": tmp_path / "products/test_truth.csv",
             "TRAIN_OPTIONS": "--n_epochs=1 --warmup_epochs=0 --batch_size=8",
             "TEXT_OPTIONS": "--n_epochs=2 --batch_size=8 --validate_every_epochs=2"}
    done = script("run_training.sh", "--seed=2", SYSTEM="cdiscount", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader(open(tmp_path / "runs/scores.csv")))
    assert [row["name"] for row in rows] == ["single_images", "averaged", "joined", "with_text", "all"]
    figures = ("accuracy", "accuracy_level1", "accuracy_words", "accuracy_things", "accuracy_images4")
    assert all(0 <= float(row[figure]) <= 1 for row in rows for figure in figures)
    submission = tmp_path / "runs/all/submission.csv"
    before = submission.read_bytes()
    assert before.startswith(b"_id,category_id\n") and before.count(b"\n") == 3 * 12 + 1
    done = script("run_inference.sh", "--seed=2", SYSTEM="cdiscount", **where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert submission.read_bytes() == before
