"""--dry_run: FLOPs against counts by hand, and the table against what it was made from."""
import re
import types

import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow import keras

import create_tfrecords
import run
from jobs import dry_run
from jobs.errors import OptionError
from models.classifier import build_classifier
from models.grouped_conv import GroupedConv2D
from training.cost import bytes_of, network_flops, peak_memory
from training.loop import Plan
from tests.helpers import make_classes, make_kaggle, run_module

layers = keras.layers


def network():
    """One of each operation: (model of 9x9 px images, its layers)."""
    parts = [layers.Conv2D(6, 3, strides=2, padding="same"),  # -> [5, 5, 6]
             layers.BatchNormalization(),
             layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),  # -> [5, 5, 12]
             layers.Conv2D(8, 3, groups=2, padding="same"),  # -> [5, 5, 8]
             GroupedConv2D(4, 1, 1, 2),  # -> [5, 5, 4], an einsum
             layers.Conv2DTranspose(3, 2, strides=2),  # -> [10, 10, 3]
             layers.GlobalAveragePooling2D(), layers.Dense(5)]
    return keras.Sequential([keras.Input((9, 9, 2)), *parts]), parts


# Multiply-adds: of the output, how many values x of the kernel, how many are added up.
FORWARD = {0: 25 * 6 * 9 * 2, 2: 25 * 12 * 9, 3: 25 * 8 * 9 * 6, 4: 25 * 4 * 4, 5: 25 * 4 * 4 * 3,
           7: 3 * 5}


@pytest.mark.parametrize("frozen", [(), (0, 1, 2, 3)])
def test_flops_of_every_operation_equal_those_by_hand(frozen):
    model, parts = network()
    for place in frozen:
        parts[place].trainable = False
    learned = {place: n for place, n in FORWARD.items() if place not in frozen}
    # Gradients of a layer's kernel and, but of the first that learns, of what comes in: as much each.
    backward = 2 * sum(learned.values()) - learned[min(learned)]
    forward, both = network_flops(model, (9, 9, 2))
    assert forward == 2 * sum(FORWARD.values())
    assert both == 2 * (sum(FORWARD.values()) + backward)
    assert not tf.config.functions_run_eagerly()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_flops_of_a_residual_network_equal_those_by_hand(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build_classifier("wide_resnet10_2", (16, 16, 1), 7, head="softmax")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    stages = 0
    for side, wide, channels in ((16, 16, 32), (8, 32, 64), (4, 64, 128)):
        into = {16: 16, 8: 32, 4: 64}[side]
        stages += side ** 2 * channels * (9 * into + 9 * channels + into)  # two 3x3, the shortcut
    stem, head = 16 * 16 * 16 * 9, 128 * 7
    forward, both = network_flops(model, (16, 16, 1))
    assert forward == 2 * (stem + stages + head)
    assert both == 3 * forward - 2 * stem


def test_flops_of_attention_equal_those_by_hand():
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3)(inputs, inputs))
    projections = 4 * 5 * 8 * 2 * 3  # query, key, value, output
    products = 2 * 2 * 5 * 5 * 3  # query x key, and x value
    assert network_flops(model, (5, 8))[0] == 2 * (projections + products)


def test_what_cannot_be_counted_is_refused():
    inputs = keras.Input((4, 3))
    loop = layers.Lambda(lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: [y + 1], [x]))
    with pytest.raises(ValueError, match="is a loop"):
        network_flops(keras.Model(inputs, loop(inputs)), (4, 3))


def test_bytes_and_peak_memory():
    variables = [tf.Variable(tf.zeros([3, 5])), tf.Variable(tf.zeros([7], tf.int64)),
                 tf.Variable(tf.cast(0, tf.bfloat16))]
    assert bytes_of(variables) == 3 * 5 * 4 + 7 * 8 + 2
    held = psutil.Process().memory_info().rss
    block = np.ones(50_000_000)
    assert held + block.nbytes / 2 < peak_memory()["process"] < 3 * held + 2 * block.nbytes


def test_on_the_host_one_waits_for_the_other():
    assert dry_run.seconds_of_step(3, 2, on_host=True) == 5
    assert dry_run.seconds_of_step(3, 2, on_host=False) == dry_run.seconds_of_step(2, 3, False) == 3


def test_validated_epochs_are_those_of_the_loop():
    plan = Plan(10, 7, "loss", 4, validate_every_epochs=3)
    assert dry_run.validated_epochs(plan) == [3, 6, 7]


def test_several_workers_are_refused(monkeypatch):
    monkeypatch.setattr(dry_run, "cluster", lambda: (0, 2))
    with pytest.raises(OptionError, match="unset TF_CONFIG"):
        dry_run.dry_run(None, None, None, None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dry")
    make_classes(folder / "set", per_class=24)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=16",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--channels=1",
                           r"--group_regex=_(\d)\.png$", "--val_split=last=3", "--workers=1"])
    make_kaggle(folder / "kaggle")
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--records=pages", "--size=128",
                           "--workers=1", f"--out_dir={folder / 'pages'}", "--val_split=b=b"])
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 0)


CLASSIFY = ["--backbone=wide_resnet10_2", "--n_epochs=5", "--batch_size=12", "--split=last",
            "--job=train", "--dry_run", "--validate_every_epochs=2"]
DETECT = ["--task=detect", "--backbone=wide_resnet10_2", "--stem_stride=2", "--pyramid_channels=8",
          "--head_channels=8", "--class_channels=8", "--dim=64", "--batch_size=2", "--n_epochs=2",
          "--crops_per_page=2", "--max_characters=8", "--max_peaks=20", "--split=b", "--job=train",
          "--dry_run"]


def table(text):
    """{row: its text} of a dry run, once it is seen to have ended well."""
    lines = text[text.index("dry run:"):].splitlines()
    assert lines[-1] == "dry run: nothing was kept"
    return dict(re.fullmatch(r"  (\S+(?: \S+)?) +(.*)", line).groups() for line in lines[1:-1])


def numbers(text):
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d.,]*\d|\d", text)]


def test_a_classifier(folder, tmp_path, capsys):
    """With accumulation and averages, compiled; 54 records train, 18 validate."""
    run.main([*CLASSIFY, f"--data_tfrec_dir={folder / 'store'}", f"--run_dir={tmp_path / 'run'}",
              "--accumulate=2", "--ema=0.9", "--xla=on"])
    assert not list(tmp_path.iterdir())
    rows = table(capsys.readouterr().out)
    model = build_classifier("wide_resnet10_2", (16, 16, 1), 3)
    forward, both = network_flops(model, (16, 16, 1))
    assert numbers(rows["parameters"])[0] == round(model.count_params() / 1e6, 2)
    assert rows["FLOPs"].startswith(f"of an image {forward / 1e9:.3g} G forward, {both / 1e9:.3g} G")
    weights = bytes_of(model.weights) / 1e6
    assert rows["variables"].startswith(f"weights {weights:.1f} MB, optimizer ")
    assert f"averages {weights:.1f} MB" in rows["variables"]
    step, images, speed = numbers(rows["step"])
    assert images == pytest.approx(12 / step * 1e3, rel=0.05, abs=1)
    assert speed == pytest.approx(both * images / 1e9, rel=0.05, abs=1)
    assert "cache" in rows and "peak memory" in rows and numbers(rows["input"])[0] > 0
    assert "5 epochs of 4 steps" in rows["whole run"] and "3 validations of 2 batches" in rows["whole run"]


def test_the_hours_are_the_sum_of_their_parts(monkeypatch, capsys):
    """All that is measured replaced: 2 s a step, 1 s a batch of input, 3 s a batch of validation."""
    monkeypatch.setattr(dry_run, "time_steps", lambda *arguments: (100.0, 2.0))
    monkeypatch.setattr(dry_run, "seconds_each", lambda function: 1.0)
    monkeypatch.setattr(dry_run, "time_validation", lambda *arguments: (3.0, 40))
    model = build_classifier("wide_resnet10_2", (16, 16, 1), 3)
    model.optimizer, model.averages = keras.optimizers.SGD(), None
    session = types.SimpleNamespace(
        strategy=tf.distribute.get_strategy(), input={"size": 16, "channels": 1},
        source=(types.SimpleNamespace(kind="file", held=0), None), rows=([], [1]),
        run=types.SimpleNamespace(folder="nowhere", info={"network": {}}))
    dry_run.dry_run(session, model, Plan(50, 20, "loss", 8, validate_every_epochs=2),
                    lambda start, worker, n: tf.data.Dataset.range(1), None)
    text = capsys.readouterr().out
    hours = (100 + 20 * 50 * (2 + 1) + 10 * 40 * 3) / 3600
    assert f"whole run    {hours:.2g} h: 20 epochs of 50 steps, limited by the step; 10 validations of " \
        "40 batches" in text
    assert "2000.0 ms, 4 images/s" in text and "1000.0 ms a batch by itself, 8 images/s" in text
    assert text.endswith("dry run: nothing was kept but the cache's file\n")


def test_a_detector(folder, tmp_path, capsys):
    run.main([*DETECT, f"--data_tfrec_dir={folder / 'pages'}", f"--run_dir={tmp_path / 'run'}"])
    assert not list(tmp_path.iterdir())
    rows = table(capsys.readouterr().out)
    assert "2 epochs of 2 steps" in rows["whole run"] and "2 validations of 2 batches" in rows["whole run"]


@pytest.mark.slow
def test_two_devices(folder, tmp_path):
    done = run_module("run.py", *CLASSIFY, f"--data_tfrec_dir={folder / 'store'}", "--cpu_replicas=2",
                      f"--run_dir={tmp_path / 'run'}", "--accumulate=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.iterdir())
    assert "5 epochs of 4 steps" in table(done.stdout)["whole run"]


def test_a_long_step_validates_one_batch_and_a_short_one_several(folder, monkeypatch):
    seen = []
    rows = (np.arange(3), np.arange(95))
    session = types.SimpleNamespace(
        options=types.SimpleNamespace(task="classify", batch_size=10), rows=rows,
        strategy=tf.distribute.get_strategy())
    monkeypatch.setattr(dry_run.val, "validation",
                        lambda few: lambda model: seen.append(len(few.rows[1])))
    monkeypatch.setattr(dry_run, "SECONDS", 2)
    assert [dry_run.time_validation(session, None, step)[1] for step in (30, 0.5, 0.01)] == [10] * 3
    assert seen == [10, 10, 40, 40, 80, 80] and session.rows is rows
