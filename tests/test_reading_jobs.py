"""What is done with what was read, without a network: ensembles, false positives, pseudo labels, tables."""
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

import create_tfrecords
import run
from inference.predict import load_predictions, read_predictions, save_predictions
from jobs.run_directory import plan_run
from pipeline.selection import split_rows
from records.annotations import read_truth
from records.detections import read_detections
from records.pseudo import with_pseudo
from records.store import StoreError, open_store
from tests.helpers import make_classes, make_kaggle

RANDOM = np.random.default_rng(3)
PAGES, FALSE = 8, 0.25  # pages of each book; share of boxes that hold no character


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages, a training store of their boxes, and a test store of what a detector found on them."""
    folder = tmp_path_factory.mktemp("read")
    truth = make_kaggle(folder / "kaggle", pages=PAGES, characters=30)
    found = []
    for page, boxes in truth.items():
        for label, x, y, w, h in boxes:
            found.append((page, x, y, w, h, 0.9, label))
            if RANDOM.random() < FALSE:  # smaller, beside it, and less sure
                found.append((page, min(x + w, 130), min(y + h, 170), 5, 4, 0.5, "U+3042"))
    frame = pd.DataFrame(found, columns=["image_id", *"xywh", "score", "label"]).assign(label_score=np.nan)
    frame.assign(label="").to_csv(folder / "found.csv", index=False)
    common = [f"--data_dir={folder / 'kaggle'}", "--size=16", "--denoise=off", "--workers=1"]
    create_tfrecords.main([*common, f"--out_dir={folder / 'train'}", "--val_split=b=b", "--n_folds=2"])
    create_tfrecords.main([*common, f"--out_dir={folder / 'test'}", "--source=test",
                           f"--csv={folder / 'kaggle/train.csv'}", f"--detections={folder / 'found.csv'}",
                           f"--image_dir={folder / 'kaggle/train_images'}"])
    return folder, truth, frame


def make_run(folder, store, logits, class_names, name="test", **info):
    """A finished run that has predicted the store."""
    opened = open_store(store)
    packing = {key: opened.info["options"][key] for key in
               ("size", "channels", "fit", "margin", "local_contrast", "denoise")}
    made = plan_run(folder, False, "auto", {"pack": None, "split": None, "val_fold": None},
                    task="classify", class_names=class_names, network={}, eval_crop=1.0,
                    input={"size": 16, "channels": 3}, dataset={"packing": packing, "manifest_sha256": "",
                                                                "own_manifest_sha256": ""}, **info)
    made.create()
    made.update(finished=True)
    save_predictions(made.folder / "predictions" / f"{name}.npz", opened.manifest["id"].tolist(),
                     class_names, logits, opened.own_sha256, opened.records_sha256)
    return made.folder


def noisy(pages, seed):
    """(class names, logits) of the test store's records: mostly right, surer of real characters."""
    folder, _, frame = pages
    store, random = open_store(folder / "test"), np.random.default_rng(seed)
    names = sorted(set(frame["label"]))
    number = store.manifest["id"].str.rsplit(":", n=1).str[1].astype(int).to_numpy()
    of_page = {page: part["label"].tolist() for page, part in frame.groupby("image_id")}
    labels = [of_page[page][k] for page, k in zip(store.manifest["image_id"], number)]
    truth = np.array([[label == name for name in names] for label in labels])
    return names, truth * 3.0 + random.normal(size=truth.shape)


@pytest.fixture(scope="module")
def runs(pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / f"run{seed}", pages[0] / "test", *reversed(noisy(pages, seed)))
            for seed in (1, 2)]


def call(store, *arguments):
    run.main([f"--data_tfrec_dir={store}", *map(str, arguments)])


def refused(capsys, store, *arguments):
    with pytest.raises(SystemExit) as stop:
        call(store, *arguments)
    return str(stop.value) + capsys.readouterr().err


def test_scores_of_the_detector_are_packed(pages):
    manifest = open_store(pages[0] / "test").manifest
    assert set(manifest["score"]) == {0.9, 0.5}
    small = manifest["w"].astype(int) == 5
    assert (manifest["score"][small] == 0.5).all() and small.any()


@pytest.mark.parametrize("how", ["mean_logits", "mean_probabilities", "hard_vote"])
def test_ensembles_are_used_like_runs(pages, runs, tmp_path, how, capsys):
    store, truth_csv = pages[0] / "test", pages[0] / "kaggle/train.csv"
    call(store, f"--run_dir={tmp_path / 'both'}", f"--members={runs[0]},{runs[1]}", f"--combine={how}",
         "--job=ensemble,submit,score", f"--truth_csv={truth_csv}", f"--score_csv={tmp_path / 'scores.csv'}",
         "--score_name=both")
    opened = open_store(store)
    ids = opened.manifest["id"].tolist()
    single = [load_predictions(path / "predictions/test.npz", ids, opened.own_sha256)[1] for path in runs]
    _, together = load_predictions(tmp_path / "both/predictions/test.npz", ids, opened.own_sha256)
    probability = np.mean([softmax(logits, axis=1) for logits in single], axis=0)
    if how == "mean_logits":
        np.testing.assert_allclose(together, np.mean(single, axis=0), atol=0.01)
    elif how == "mean_probabilities":
        np.testing.assert_allclose(log_softmax(together, axis=1), np.log(probability), atol=0.01)
    else:
        votes = np.sum([np.eye(3)[logits.argmax(1)] for logits in single], axis=0)
        assert (together.argmax(1) == (votes + probability).argmax(1)).all()
    row = pd.read_csv(tmp_path / "scores.csv").iloc[0]
    assert row["name"] == "both" and row["f1"] > 0.8
    assert row["f1"] == pytest.approx(json.loads((tmp_path / "both/run.json").read_text())["score"]["f1"],
                                      abs=1e-4)
    assert (tmp_path / "both/submission.csv").exists()
    # The same again is no other ensemble; another is.
    call(store, f"--run_dir={tmp_path / 'both'}", f"--members={runs[0]},{runs[1]}", f"--combine={how}",
         "--job=ensemble")
    assert "pass --overwrite" in refused(
        capsys, store, f"--run_dir={tmp_path / 'both'}", f"--members={runs[1]},{runs[0]}",
        f"--combine={how}", "--job=ensemble")


def test_weights_are_fitted_on_the_common_validation(pages, tmp_path, capsys):
    store, random = pages[0] / "test", np.random.default_rng(0)
    names, good = noisy(pages, 5)
    labels = good.argmax(1)
    members = []
    for name, logits in (("good", good), ("bad", random.normal(size=good.shape) * 3)):
        members.append(make_run(tmp_path / name, store, logits, names))
        ids = open_store(store).manifest["id"].tolist()
        save_predictions(members[-1] / "predictions/train_val.npz", ids, names, logits, "", "", labels)
    call(store, "--job=ensemble", f"--run_dir={tmp_path / 'both'}", f"--members={members[0]},{members[1]}",
         "--member_weights=fit", "--combine=mean_probabilities")
    info = json.loads((tmp_path / "both/run.json").read_text())
    assert info["weights"][0] > 0.95 and info["validation"]["accuracy"] == 1.0
    out = capsys.readouterr().out
    assert "validation: accuracy 1.0000 together" in out
    ids, _, _, kept = read_predictions(tmp_path / "both/predictions/mean_probabilities_val.npz")
    assert kept.tolist() == labels.tolist()
    # On other records there is nothing in common.
    save_predictions(members[1] / "predictions/train_val.npz", ids[1:], names, good[1:], "", "", labels[1:])
    assert "1 only in" in refused(capsys, store, "--job=ensemble", f"--run_dir={tmp_path / 'x'}",
                                  f"--members={members[0]},{members[1]}", "--member_weights=fit",
                                  "--combine=mean_probabilities")


def test_members_of_other_classes_and_records_are_refused(pages, runs, tmp_path, capsys):
    store = pages[0] / "test"
    names, logits = noisy(pages, 1)
    other = make_run(tmp_path / "other", store, logits, [*names[:-1], "U+4E00"])
    message = refused(capsys, store, "--job=ensemble", f"--run_dir={tmp_path / 'both'}",
                      f"--members={runs[0]},{other}")
    assert "U+4E00" in message and str(other) in message
    unread = make_run(tmp_path / "unread", store, logits, names, name="elsewhere")
    assert "every member must have predicted" in refused(
        capsys, store, "--job=ensemble", f"--run_dir={tmp_path / 'both'}", f"--members={runs[0]},{unread}")
    assert "is a single run" in refused(capsys, store, "--job=ensemble", f"--run_dir={tmp_path / 'both'}",
                                         f"--members={runs[0]}")


def test_false_positives_are_learned_and_left_out(pages, runs, tmp_path, capsys):
    store, truth_csv = pages[0] / "test", pages[0] / "kaggle/train.csv"
    call(store, f"--run_dir={runs[0]}", "--job=fit_rescorer", f"--rescorer={tmp_path / 'fp'}",
         f"--truth_csv={truth_csv}", "--rescorer_trials=2")
    figures = json.loads((tmp_path / "fp/rescorer.json").read_text())["figures"]
    assert figures["f1"] > figures["f1_without"] + 0.02
    assert {path.name for path in (tmp_path / "fp").iterdir()} >= {
        "fold0.txt", "importances.png", "thresholds.csv", "search.json"}
    scores = []
    for extra in ([], [f"--rescorer={tmp_path / 'fp'}"]):
        call(store, f"--run_dir={runs[0]}", "--job=submit,score", f"--truth_csv={truth_csv}", *extra)
        scores.append(json.loads((runs[0] / "run.json").read_text())["score"])
    assert scores[1]["precision"] > scores[0]["precision"] + 0.02
    assert "are left out as false" in capsys.readouterr().out
    (tmp_path / "fp/fold1.txt").write_text("tree")
    assert "fold1.txt" in refused(capsys, store, f"--run_dir={runs[0]}", "--job=submit",
                                  f"--rescorer={tmp_path / 'fp'}")


@pytest.fixture(scope="module")
def pseudo_store(pages, runs):
    """What runs[0] read surely, packed."""
    folder = pages[0]
    call(folder / "test", f"--run_dir={runs[0]}", "--job=pseudo", "--pseudo_probability=0.8")
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--size=16", "--denoise=off", "--workers=1",
                           f"--pseudo={runs[0] / 'pseudo/test.csv'}", f"--out_dir={folder / 'pseudo'}",
                           f"--image_dir={folder / 'kaggle/train_images'}",
                           f"--csv={folder / 'kaggle/train.csv'}"])
    return folder / "pseudo"


def test_pseudo_labels_are_those_that_are_sure(pages, runs, pseudo_store):
    names, logits = noisy(pages, 1)
    probability = softmax(logits.astype(np.float16).astype(float), axis=1).max(1)
    kept = read_detections(runs[0] / "pseudo/test.csv")
    assert 0 < len(kept) == (probability >= 0.8).sum() < len(logits)
    store = open_store(pseudo_store)
    assert set(store.manifest["source"]) == {"pseudo"} and len(store.manifest) == len(kept)
    counts = dict(zip(store.info["class_names"], store.info["class_counts"]))
    assert counts == kept["label"].value_counts().to_dict()
    assert store.info["options"]["made_by"]["run"] == str(runs[0])


def test_pseudo_labels_train_and_never_validate(pages, pseudo_store):
    both = with_pseudo(renamed(open_store(pages[0] / "train")), open_store(pseudo_store))
    source = both.manifest["source"].to_numpy()
    for split in ({"split": "b"}, {"val_fold": 0}, {"val_fold": 1}):
        train, val = split_rows(both.manifest, **split)
        assert (source[val] == "train").all() and len(val)
        assert (source[train] == "pseudo").sum() == (source == "pseudo").sum() > 0
    names = both.class_names
    assert [names[k] for k in both.manifest["label_id"]] == both.manifest["label"].tolist()


def renamed(store):
    """The same with other ids: the test's pages are those of its training store."""
    store.manifest["id"] = "t" + store.manifest["id"]
    return store


@pytest.mark.parametrize("change, says", [
    (lambda s: s.info.update(source="test"), "source test, not pseudo"),
    (lambda s: s.info["options"].update(size=20), r"size 20 \(there: 16\)"),
    (lambda s: s.info.update(class_names=["U+4E00"]), "'U\\+4E00'"),
    (lambda s: s.manifest.__setitem__("id", "ta_0:0"), "'ta_0:0' is in"),
    (lambda s: s.info["shards"][0].update(file="train-00000-of-00001.tfrecord"), "another --name")])
def test_unfit_pseudo_labels_are_refused(pages, pseudo_store, change, says):
    pseudo = open_store(pseudo_store)
    change(pseudo)
    with pytest.raises(StoreError, match=says):
        with_pseudo(renamed(open_store(pages[0] / "train")), pseudo)


def test_pseudo_labels_of_whole_images(tmp_path, capsys):
    """Classification sets too: a run trains with them, and is then validated without."""
    make_classes(tmp_path / "set", per_class=12)
    make_classes(tmp_path / "new", per_class=6, seed=1)
    common = ["--format=folder", "--size=16", "--channels=1", "--workers=1"]
    create_tfrecords.main([*common, f"--data_dir={tmp_path / 'set'}", f"--out_dir={tmp_path / 'train'}",
                           "--n_folds=3"])
    for path in sorted((tmp_path / "new").glob("class*/*.png")):
        path.rename(tmp_path / "new" / f"new{path.name}")
    create_tfrecords.main([*common, f"--data_dir={tmp_path / 'new'}", f"--out_dir={tmp_path / 'test'}",
                           "--source=test"])
    ids = open_store(tmp_path / "test").manifest["id"].tolist()
    names = [f"class{k}" for k in range(3)]
    truth = np.array([int(name[3]) for name in ids])
    logits = np.eye(3)[truth] * np.where(np.arange(18) < 12, 5.0, 0.1)[:, None]
    teacher = make_run(tmp_path / "teacher", tmp_path / "test", logits, names)
    call(tmp_path / "test", f"--run_dir={teacher}", "--job=pseudo,distribution")
    table = pd.read_csv(teacher / "distribution/test.csv")
    assert table["read"].sum() == 18 and table["expected"].sum() == pytest.approx(18, abs=0.05)
    assert (teacher / "distribution/test.png").stat().st_size > 1000
    create_tfrecords.main([*common, f"--data_dir={tmp_path / 'new'}", f"--out_dir={tmp_path / 'pseudo'}",
                           f"--pseudo={teacher / 'pseudo/test.csv'}"])
    assert len(open_store(tmp_path / "pseudo").manifest) == 12
    base = ["--backbone=wide_resnet10_2", "--batch_size=12", "--val_fold=0", f"--run_dir={tmp_path / 'run'}"]
    call(tmp_path / "train", *base, f"--pseudo_tfrec_dir={tmp_path / 'pseudo'}", "--n_epochs=1",
         "--pseudo_target=0.9", "--job=train,val")
    out = capsys.readouterr().out
    assert "data: 36 training records" in out and "12 validation records" in out
    call(tmp_path / "train", *base, "--job=val", "--views=nine")
    assert "on 12 records" in capsys.readouterr().out
    wrong = refused(capsys, tmp_path / "train", *base[:2], f"--run_dir={tmp_path / 'run'}", "--job=val",
                    "--val_fold=1")
    assert "what it was trained on" in wrong


def test_pseudo_labels_without_their_origin_are_refused(tmp_path, capsys):
    make_classes(tmp_path / "set", per_class=2)
    (tmp_path / "labels.csv").write_text("id,label\n")
    with pytest.raises(SystemExit, match="labels.json, which tells of the run that made"):
        create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                               f"--out_dir={tmp_path / 'x'}", f"--pseudo={tmp_path / 'labels.csv'}"])


def test_pages_with_their_book_as_label(pages, tmp_path):
    create_tfrecords.main([f"--data_dir={pages[0] / 'kaggle'}", "--records=titles", "--size=16",
                           "--n_folds=4", f"--out_dir={tmp_path / 'titles'}", "--workers=1"])
    store = open_store(tmp_path / "titles")
    assert store.info["records"] == "images" and store.class_names == ["a", "b"]
    assert (store.manifest["label"] == store.manifest["image_id"].str[0]).all()
    assert len(store.manifest) == len(read_truth(pages[0] / "kaggle/train.csv")) == 2 * PAGES


def test_detectors_are_merged_and_submitted(pages, tmp_path, capsys):
    """Two detectors that found the same boxes a little displaced, one of them surer."""
    folder, truth, _ = pages
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--records=pages", "--source=test", "--size=64",
                           f"--csv={folder / 'kaggle/train.csv'}", f"--out_dir={tmp_path / 'pages'}",
                           f"--image_dir={folder / 'kaggle/train_images'}", "--workers=1"])
    store = open_store(tmp_path / "pages")
    packing = {name: store.info["options"][name] for name in
               ("size", "channels", "aspect", "local_contrast", "denoise")}
    made, frames = [], []
    for number, score in enumerate((0.9, 0.6)):
        one = plan_run(tmp_path / f"run{number}", False, "auto", {"pack": None}, task="detect", network={},
                       classes="branch", class_names=sorted({box[0] for b in truth.values() for box in b}),
                       input={"size": 64, "channels": 3},
                       dataset={"packing": packing, "manifest_sha256": "", "own_manifest_sha256": ""})
        one.create()
        one.update(finished=True)
        frames.append(pd.DataFrame([(page, x + number, y, w, h, score, label, 0.9)
                                    for page, boxes in truth.items() for label, x, y, w, h in boxes[:3]],
                                   columns=["image_id", *"xywh", "score", "label", "label_score"]))
        (one.folder / "detections").mkdir()
        frames[-1].to_csv(one.folder / "detections/test.csv", index=False)
        (one.folder / "detections/test.json").write_text(json.dumps({
            "run": str(one.folder), "run_created": one.info["created"], "only_val": False,
            "store_manifest_sha256": store.info["manifest_sha256"]}))
        made.append(one.folder)
    call(tmp_path / "pages", "--task=detect", f"--run_dir={tmp_path / 'both'}",
         f"--members={made[0]},{made[1]}", "--job=ensemble,submit,score", "--merge_iou=0.7",
         "--merge_classes=apart", f"--truth_csv={folder / 'kaggle/train.csv'}")
    merged = read_detections(tmp_path / "both/detections/test.csv")
    assert (merged["score"] == 0.9).mean() > 0.9  # the less sure ones went, but where boxes are narrow
    assert len(frames[0]) <= len(merged) < 1.2 * len(frames[0])
    assert "recall 0.1000" in capsys.readouterr().out and (tmp_path / "both/submission.csv").exists()
    (made[1] / "detections/test.json").unlink()
    assert "run1" in refused(capsys, tmp_path / "pages", "--task=detect", f"--run_dir={tmp_path / 'x'}",
                             f"--members={made[0]},{made[1]}", "--job=ensemble")
