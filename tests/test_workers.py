"""Several worker processes on this machine, as on several machines."""
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import make_classes
from training.workers import cluster, is_chief

TRAIN = """
import keras2, sys, json
import numpy as np, tensorflow as tf
from training.devices import choose_strategy
strategy = choose_strategy(None)
from tests.small_training import dense_classifier, ready
from training.loop import Plan, Training
random = np.random.default_rng(0)
images = random.normal(size=(48, 8, 8, 1)).astype(np.float32)
targets = np.eye(5, dtype=np.float32)[random.integers(0, 5, 48)]

def batches(start, worker, n):
    part = 16 // n
    rows = np.arange(48).reshape(3, n, part)[:, worker].ravel()
    data = tf.data.Dataset.from_tensor_slices((images[rows], targets[rows]))
    return data.batch(part, drop_remainder=True).repeat().skip(start)
with strategy.scope():
    model = ready(dense_classifier(), accumulate=2, ema=0.9)
folder, n_epochs = sys.argv[1], int(sys.argv[2])
training = Training(model, strategy, folder, Plan(3, n_epochs, "loss", 16), batches)
training.restore()
training.run()
print("RESULT", json.dumps([[row["loss"] for row in training.progress.rows],
                            np.concatenate([w.ravel() for w in model.get_weights()]).tolist()]))
"""


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def workers(n, command):
    """The outputs of n processes that train together."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(n)]
    started = []
    for index in range(n):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        started.append(subprocess.Popen(
            [sys.executable, *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TF_CONFIG": json.dumps(config), "GRPC_FAIL_FAST": "use_caller"}))
    outputs = []
    for process in started:
        out, error = process.communicate(timeout=400)
        assert process.returncode == 0, error[-3000:]
        outputs.append(out)
    return outputs


def results(output):
    return json.loads(output.split("RESULT")[1])


@pytest.mark.slow
def test_two_workers_reach_the_weights_of_one_device(tmp_path):
    alone = subprocess.run([sys.executable, "-c", TRAIN, tmp_path / "one", "3"], capture_output=True,
                           text=True)
    loss, weights = results(alone.stdout)
    workers(2, ["-c", TRAIN, tmp_path / "two", "2"])
    for output in workers(2, ["-c", TRAIN, tmp_path / "two", "3"]):  # goes on after two epochs
        its_loss, its_weights = results(output)
        np.testing.assert_allclose(its_loss, loss, rtol=2e-5)
        np.testing.assert_allclose(its_weights, weights, atol=2e-5)
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == [
        "checkpoints", "log.csv", "tensorboard"]


@pytest.mark.slow
def test_two_workers_run_the_whole_job(tmp_path):
    """BatchNorm's statistics and a validation that is shared out; only the chief writes."""
    import create_tfrecords
    make_classes(tmp_path / "set", per_class=24)
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                           f"--out_dir={tmp_path / 'store'}", "--encoding=png", "--n_folds=3",
                           "--workers=1"])
    outputs = workers(2, ["run.py", f"--data_tfrec_dir={tmp_path / 'store'}", "--val_fold=0",
                          "--backbone=wide_resnet10_2", "--batch_size=12", "--n_epochs=3",
                          "--lr=0.05", f"--run_dir={tmp_path / 'run'}", "--job=train,val"])
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["val_accuracy"] > 0.3
    for number, output in enumerate(outputs):
        assert f"worker {number} of 2, 2 replicas" in output
        assert f"accuracy {best['val_accuracy']:.4f} on 24 records" in output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    assert not list((tmp_path / "run").glob(".worker*"))


def test_who_writes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster() == (0, 1) and is_chief()
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert cluster() == (1, 2) and not is_chief()


@pytest.mark.parametrize("text", ["{", "{}", '{"cluster": {"worker": ["a:1"]}, "task": '
                                  '{"type": "worker", "index": 1}}', '{"cluster": {"worker": ["a:1"]}, '
                                  '"task": {"type": "ps", "index": 0}}'])
def test_a_config_that_cannot_be_is_refused(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG cannot be used"):
        cluster()
