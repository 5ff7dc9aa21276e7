"""--augment_on=device trains as --augment_on=host does, on one device and on two."""
import csv

import numpy as np
import pytest

import create_tfrecords
import run
from tests.helpers import make_classes, make_kaggle, run_module

CLASSIFY = ["--backbone=wide_resnet10_2", "--batch_size=12", "--lr=0.05", "--rotate=10", "--hflip=0.5",
            "--rrc_scale=0.7,0.9", "--brightness=0.2", "--hue=0.1", "--noise=0.05", "--clahe=0.3",
            "--mixup=0.4", "--icap=1.0", "--erase=0.5", "--policy=randaugment"]
DETECT = ["--task=detect", "--backbone=wide_resnet10_2", "--stem_stride=2", "--pyramid_channels=16",
          "--head_channels=16", "--class_channels=16", "--dim=64", "--crops_per_page=4",
          "--batch_size=4", "--lr=1e-3", "--rotate=5", "--scale=0.1", "--brightness=0.2", "--hue=0.1",
          "--noise=0.05", "--blur=1", "--clahe=0.3"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    make_classes(folder / "set", per_class=16)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=20",
                           f"--out_dir={folder / 'classify'}", "--encoding=png", "--workers=1"])
    make_kaggle(folder / "pages")
    create_tfrecords.main(["--format=kuzushiji", "--records=pages", "--size=96", "--workers=1",
                           f"--data_dir={folder / 'pages'}", f"--out_dir={folder / 'detect'}"])
    return folder


def losses(folder):
    with open(folder / "log.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("task, options", [
    ("classify", CLASSIFY), pytest.param("detect", DETECT, marks=pytest.mark.slow)])
def test_device_trains_as_the_host_does(stores, tmp_path, task, options):
    for place in ("host", "device"):
        run.main([*options, f"--data_tfrec_dir={stores / task}", f"--run_dir={tmp_path / place}",
                  f"--augment_on={place}", "--n_epochs=1", "--job=train"])
    host, device = losses(tmp_path / "host"), losses(tmp_path / "device")
    assert len(host) == 1
    np.testing.assert_allclose(device, host, rtol=2e-3)  # a level may be rounded otherwise


@pytest.mark.slow
@pytest.mark.parametrize("task, options", [
    ("classify", CLASSIFY), pytest.param("detect", DETECT, marks=pytest.mark.slow)])
def test_two_devices_augment_their_parts(stores, tmp_path, task, options):
    for place in ("host", "device"):
        done = run_module("run.py", *options, f"--data_tfrec_dir={stores / task}", "--cpu_replicas=2",
                          f"--run_dir={tmp_path / place}", f"--augment_on={place}", "--n_epochs=1",
                          "--job=train")
        assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(losses(tmp_path / "device"), losses(tmp_path / "host"), rtol=2e-3)
