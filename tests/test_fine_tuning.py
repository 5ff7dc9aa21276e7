"""Starting from another run's weights, frozen layers, layer-wise rates, as a user would ask for them."""
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import create_tfrecords
import run
from models.centernet import build_centernet
from tests.helpers import make_classes
from tests.small_training import small_classifier, trained
from training.freezing import freeze, unfrozen
from training.snapshots import read_snapshot

SMALL = ["--backbone=wide_resnet10_2", "--batch_size=12", "--lr=0.05", "--val_fold=0"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    for name, classes in (("three", 3), ("two", 2)):
        make_classes(folder / f"{name}_set", classes=classes, per_class=12)
        create_tfrecords.main(["--format=folder", f"--data_dir={folder / f'{name}_set'}", "--size=16",
                               f"--out_dir={folder / name}", "--encoding=png", "--channels=1",
                               "--n_folds=3", "--workers=1"])
    return folder


def train(stores, folder, *options, store="three", epochs=1):
    run.main([*SMALL, f"--data_tfrec_dir={stores / store}", f"--run_dir={folder}",
              f"--n_epochs={epochs}", "--job=train", *options])
    newest = max((folder / "checkpoints").glob("step-*.npz"))
    return {name.removeprefix("model/"): value for name, value in read_snapshot(newest)[1].items()
            if name.startswith("model/layer")}


@pytest.fixture(scope="module")
def first(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    return folder, train(stores, folder, epochs=2)


def changed(before, after):
    return {name for name in before if before[name].shape != after[name].shape
            or (before[name] != after[name]).any()}


def test_a_frozen_backbone_stays_and_the_head_learns(stores, first, tmp_path, capsys):
    folder, before = first
    after = train(stores, tmp_path / "run", f"--init_from={folder}", "--freeze=backbone")
    said = capsys.readouterr().out
    assert f"layers from {folder}" in said and "frozen: " in said and "left out" not in said
    (head,) = changed(before, after)
    assert head.endswith("kernel")
    # What was frozen is saved and loaded all the same: validation of the best weights.
    run.main([f"--data_tfrec_dir={stores / 'three'}", "--val_fold=0", f"--run_dir={tmp_path / 'run'}",
              "--job=val"])
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert info["validation"]["loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_frozen_norms_stay_and_the_kernels_learn(stores, first, tmp_path):
    folder, before = first
    after = train(stores, tmp_path / "run", f"--init_from={folder}", "--freeze=norms")
    kinds = {name.split("/")[-1] for name in changed(before, after)}
    assert kinds == {"kernel"}


def test_of_fewer_classes_the_head_is_cut_out_and_of_others_left_out(stores, first, tmp_path, capsys):
    folder, before = first
    train(stores, tmp_path / "run", f"--init_from={folder}", store="two")
    assert "of its 3 classes the 2 of this run" in capsys.readouterr().out
    train(stores, tmp_path / "back", f"--init_from={tmp_path / 'run'}")
    assert "left out, as the classes differ: head" in capsys.readouterr().out


def test_another_network_is_refused(stores, first, tmp_path):
    with pytest.raises(SystemExit, match="is another network"):
        train(stores, tmp_path / "run", f"--init_from={first[0]}", "--backbone=wide_resnet16_2")
    with pytest.raises(SystemExit, match="no run at"):
        train(stores, tmp_path / "run", f"--init_from={tmp_path / 'none'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_first_layer_learns_at_its_share(stores, first, tmp_path):
    """One step of plain SGD: the first kernel moves by a hundredth of what it moves at the whole rate."""
    folder, before = first
    moved = {}
    for share in (1.0, 0.01):
        after = train(stores, tmp_path / str(share), f"--init_from={folder}", "--batch_size=24",
                      "--momentum=0", "--warmup_epochs=0", "--schedule=constant",
                      f"--first_layer_rate={share}")
        kernels = [name for name in before if name.endswith("kernel")]
        moved[share] = {name: np.abs(after[name] - before[name]).sum() for name in kernels}
    ratios = sorted(moved[0.01][name] / moved[1.0][name] for name in kernels)
    assert ratios[0] == pytest.approx(0.01, rel=0.02) and ratios[-1] == pytest.approx(1, rel=0.02)


def test_freezing_in_a_feature_pyramid_keeps_weights_in_their_order(tmp_path):
    """A model within a model: Keras would save its frozen weights in another order."""
    def build():
        keras.utils.set_random_seed(1)
        return build_centernet(channels=1, backbone="wide_resnet10_2", stem_stride=2,
                               pyramid_channels=8, head_channels=8)
    model = build()
    before = model.get_weights()
    assert freeze(model, "backbone") > 5
    learned = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert 0 < learned < model.count_params()
    assert len(model.get_weights()) == len(before)
    with unfrozen(model):
        model.save_weights(tmp_path / "w.h5")
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == learned
    again = build()
    again.set_weights([w * 0 for w in before])
    again.load_weights(tmp_path / "w.h5")
    for one, two in zip(again.get_weights(), before, strict=True):
        assert (one == two).all()


def test_frozen_statistics_do_not_move(tmp_path):
    model = small_classifier()
    freeze(model, "norms")
    model.set_step(model.optimizer)
    before = model.get_layer(index=len(model.layers) - 4).get_weights()
    trained(model, tmp_path, n_epochs=1)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and all((layer.moving_mean.numpy() == 0).all() for layer in norms)
    assert before is not None and tf.reduce_all(norms[0].gamma == 1)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(ValueError, match="one of none, norms, backbone"):
        freeze(small_classifier(), "heads")
    hourglass = build_centernet("hourglass_small", 1)
    with pytest.raises(ValueError, match="has no backbone to freeze"):
        freeze(hourglass, "backbone")
