"""Vectors beside the images: mixed as the images are, in the network, and through the jobs by id."""
import dataclasses
import json
import re

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import create_tfrecords
import run
from inference.predict import classifier, load_predictions
from jobs.vectors import moments
from models.classifier import build_classifier, feature_model
from pipeline.augmentation import Augmentation, InputFormat
from pipeline.batches import augment_on_device, evaluation_batches, training_batches
from pipeline.cache import image_source
from pipeline.mixing import Mixing
from records.features import write_features
from records.store import open_store
from tests.helpers import run_module
from tests.test_cache import pack

FORMAT = InputFormat(size=24, channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
MIXED = Augmentation(mixing=Mixing(mixup=0.4, cutmix=1.0, ricap=0.5))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """60 records; the vector of each is its own row of the identity."""
    store = pack(tmp_path_factory.mktemp("vectors"))
    found = image_source(store, np.arange(60), 1, "decoded")
    identity = tf.eye(60)
    return store, dataclasses.replace(found, vectors=lambda at: tf.gather(identity, at))


def drawn(source, augmentation, **options):
    store, images = source
    return training_batches(images, np.arange(60), store.manifest.label_id.to_numpy(int), 3, augmentation, FORMAT,
                            batch_size=20, seed=3, n_epochs=2, **options)


@pytest.mark.parametrize("where, replicas", [("host", 1), ("host", 2), ("device", 1)])
def test_vectors_are_mixed_in_the_shares_of_the_images(source, where, replicas):
    """Unit vectors show how much of which record is in each image: so much of its class is in the target."""
    truth = np.eye(3)[source[0].manifest.label_id.to_numpy(int)]
    batches = drawn(source, MIXED, augment_on=where, replicas=replicas)
    if where == "device":
        batches = batches.map(augment_on_device(MIXED, FORMAT, 3))
    several = 0
    for inputs, targets in batches.as_numpy_iterator():
        shares = inputs["aux"]
        assert inputs["image"].shape == (20, 24, 24, 1) and shares.shape == (20, 60)
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(shares @ truth, targets, atol=1e-6)
        several += ((shares > 0.05).sum(1) > 1).sum()
    assert several > 50  # they were mixed


def test_each_image_has_its_own_vector_from_any_step_on(source):
    whole = list(drawn(source, Augmentation()).as_numpy_iterator())
    everything = next(source[1].fetch(tf.data.Dataset.from_tensors(np.arange(60))).as_numpy_iterator())
    for inputs, _ in whole:
        at = inputs["aux"].argmax(1)
        np.testing.assert_allclose(inputs["image"], everything[at] / 255 / 0.25 - 2, atol=1e-5)
    for batch, other in zip(whole[4:], drawn(source, Augmentation(), start_step=4).as_numpy_iterator(), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, other)


def test_evaluation_shows_each_vector_in_order(source):
    shown = list(evaluation_batches(source[1], np.arange(50), FORMAT, batch_size=20).as_numpy_iterator())
    index, vectors = (np.concatenate(part) for part in zip(*((i, x["aux"]) for i, x in shown)))
    assert (vectors[:50].argmax(1) == np.arange(50)).all() and (index[50:] == -1).all()


@pytest.mark.parametrize("width", [0, 5])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_network_joins_the_vector_to_the_features(tmp_path, width, policy):
    random = np.random.default_rng(0)
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build_classifier("wide_resnet10_2", (16, 16, 1), 4, "softmax", aux_inputs=7, aux_width=width)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    inputs = {"image": random.normal(size=(3, 16, 16, 1)).astype(np.float32),
              "aux": random.normal(size=(3, 7)).astype(np.float32)}
    logits = model(inputs).numpy()
    pooled = keras.Model(model.input, model.get_layer("pooling").output)(inputs).numpy()
    vector = inputs["aux"]
    if width:
        kernel, bias = (v.numpy() for v in model.get_layer("aux_dense").weights)
        vector = np.maximum(vector @ kernel + bias, 0)
    joined = np.concatenate([pooled, vector], axis=1)
    atol = 1e-5 if policy == "float32" else 2e-2
    np.testing.assert_allclose(feature_model(model)(inputs), joined, atol=atol)
    kernel, bias = (v.numpy() for v in model.get_layer("head").weights)
    np.testing.assert_allclose(logits, joined @ kernel + bias, atol=10 * atol)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(inputs), logits)
    compiled = tf.function(model, jit_compile=True)(inputs)
    np.testing.assert_allclose(compiled, logits, atol=10 * atol)
    two = {"image": np.stack([inputs["image"]] * 2, axis=1), "aux": inputs["aux"]}
    views = classifier(model, lambda logits, index: logits)(None, tf.nest.map_structure(tf.constant, two))
    np.testing.assert_allclose(views, logits, atol=atol)


def test_moments_are_those_of_the_training_records(monkeypatch):
    monkeypatch.setattr("jobs.vectors.BLOCK", 7)
    values = np.random.default_rng(0).normal(5, 3, size=(50, 4)).astype(np.float32)
    values[:, 2] = 0.1
    rows = np.random.default_rng(1).integers(0, 40, 90)
    mean, std = moments(values, np.unique(rows), np.bincount(rows))
    expected = values[rows].astype(np.float64)
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, np.where(np.arange(4) == 2, 1, expected.std(0)), rtol=1e-10)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of noise in 3 classes, which only the vectors of the images' groups tell apart."""
    folder = tmp_path_factory.mktemp("aux")
    random = np.random.default_rng(0)
    for label in range(3):
        (folder / "set" / f"class{label}").mkdir(parents=True)
        for number in range(24):
            cv2.imwrite(str(folder / "set" / f"class{label}" / f"p{label}{number // 2}_{number % 2}.png"),
                        random.integers(0, 256, (16, 16)).astype(np.uint8))
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=16", r"--group_regex=(p\d+)_",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--channels=1", "--n_folds=3",
                           "--workers=1"])
    groups = sorted(set(open_store(folder / "store").manifest["group"]))
    told = np.array([int(group[1]) for group in groups])
    vectors = np.c_[1000 * np.eye(3)[told] + random.normal(size=(len(groups), 3)), np.full(len(groups), 7.0)]
    write_features(folder / "text.npz", groups, vectors, {"made": "here"})
    write_features(folder / "other.npz", groups[::-1], vectors[::-1, [1, 2, 0, 3]], {})
    write_features(folder / "short.npz", groups[1:], vectors[1:], {})
    write_features(folder / "wide.npz", groups, np.c_[vectors, vectors], {})
    return folder


def options(data, run_dir, **more):
    given = {"data_tfrec_dir": data / "store", "val_fold": 0, "backbone": "wide_resnet10_2", "batch_size": 12,
             "n_epochs": 6, "lr": 0.05, "head": "softmax", "run_dir": run_dir, "aux_width": 8,
             "aux_features": data / "text.npz", "job": "train,val", **more}
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


TEST = dict(n_epochs=None, lr=None, backbone=None, head=None, aux_width=None, val_fold=None, job="test")


def refused(arguments):
    with pytest.raises(SystemExit) as stop:
        run.main(arguments)
    return str(stop.value)


def test_vectors_through_the_jobs(data, tmp_path, capsys):
    folder = tmp_path / "run"
    run.main(options(data, folder))
    info = json.loads((folder / "run.json").read_text())
    assert info["validation"]["accuracy"] > 0.9  # noise alone gives 1/3
    assert info["network"]["aux_inputs"] == 4 and info["network"]["aux_width"] == 8
    assert info["aux"]["made_by"] == {"made": "here"} and info["aux"]["std"][3] == 1
    assert "4 numbers beside each image, 36 in" in capsys.readouterr().out

    # Test: by id, with any file that has them; what the vectors say changes what is predicted.
    store, right = open_store(data / "store"), []
    labels = store.manifest.label_id.to_numpy(int)
    for file, shift in (("text", 0), ("other", 1)):
        run.main(options(data, folder, **TEST | {"aux_features": data / f"{file}.npz"}))
        (path,) = (folder / "predictions").glob("*[!l].npz")
        logits = load_predictions(path, store.manifest.id.tolist(), store.own_sha256)[1]
        right.append((logits.argmax(1) == labels).mean())
    assert right[0] > 0.9 > 0.5 > right[1]

    # What does not fit is refused.
    for change, says in ((dict(aux_features=None), "was trained with a vector of 4 numbers"),
                         (dict(aux_features=data / "wide.npz"), "vectors of 8 numbers, the run .* takes 4"),
                         (dict(aux_features=data / "short.npz"), r"no vector for 2 of 72 records.*group 'p00'")):
        message = refused(options(data, folder, **TEST | change))
        assert message.startswith("run.py: ") and re.search(says, message), message
    for job in ("predict", "grad_cam"):
        message = refused([f"--run_dir={folder}", f"--job={job}", f"--images={data / 'set'}"])
        assert f"--job={job} shows images alone" in message
    assert "its --aux_features are others" in refused(options(data, folder, aux_features=data / "other.npz"))
    run.main(options(data, folder, job="train", aux_features=str(data / ".." / data.name / "text.npz")))
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("given, says", [
    (["--aux_width=3"], "--aux_width needs --aux_features"),
    (["--aux_features=x", "--job=submit"], "is for --job=preview, train, val or test, not submit"),
    (["--aux_features=x", "--teacher=y"], "does not go with --teacher"),
    (["--aux_features=x", "--task=detect"], "--aux_features goes with --task=classify or multilabel, not detect")])
def test_options_that_do_not_go_with_vectors(given, says, capsys):
    from jobs.options import parse
    with pytest.raises(SystemExit):
        parse(["--data_tfrec_dir=x", "--job=train", *given])
    assert says in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("where", ["host", "device"])
def test_two_devices_take_their_own_vectors(data, tmp_path, where):
    """Augmented on either side, two devices learn from the vectors; a run that was cut off goes on."""
    arguments = options(data, tmp_path / "run", augment_on=where, cpu_replicas=2, mixup=0.2, accumulate=2,
                        tpu_ip_or_name="None", views="crops5", eval_crop=0.75)
    done = run_module("run.py", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["validation"]["accuracy"] > 0.9


@pytest.mark.slow
def test_killed_runs_with_vectors_end_as_one_never_killed(data, capsys):
    from tests import kill_and_resume
    arguments = options(data, None, mixup=0.2, checkpoint_every_steps=2, job=None)
    kill_and_resume.main(["--kills=2", "--inside_write=0.5", "--seed=1", *arguments])
    assert "bit-identical" in capsys.readouterr().out


@pytest.mark.slow
def test_a_dry_run_counts_the_layer_on_the_vectors(data, tmp_path, capsys):
    def flops(**more):
        run.main(options(data, tmp_path / "run", **more) + ["--dry_run"])
        return re.search(r"of an image (\S+) G forward", capsys.readouterr().out)[1]
    few, many = float(flops(aux_width=1)), float(flops(aux_width=100_000))
    assert many - few == pytest.approx(2 * 99_999 * (4 + 3) / 1e9, rel=0.02)  # of the layer, and of the head
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_from_images_alone_to_images_with_vectors(data, tmp_path, capsys):
    """At first the vectors say nothing."""
    store = open_store(data / "store")
    plain = tmp_path / "plain"
    run.main(options(data, plain, aux_features=None, aux_width=None, n_epochs=1))
    assert "trained without vectors" in refused(options(data, plain, **TEST))
    run.main(options(data, tmp_path / "more", init_from=plain, n_epochs=1, lr=1e-9, freeze="norms", job="train"))
    assert "vectors come in, with weights of 0" in capsys.readouterr().out
    run.main(options(data, tmp_path / "more", **TEST))
    run.main(options(data, plain, **TEST | {"aux_features": None}))
    alike = [load_predictions(*(path / "predictions").glob("*[!l].npz"), store.manifest.id.tolist(),
                              store.own_sha256)[1] for path in (tmp_path / "more", plain)]
    np.testing.assert_allclose(*alike, atol=0.02)
