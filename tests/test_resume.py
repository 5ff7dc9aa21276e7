"""A training that was cut off goes on bit for bit; what was saved is whole, or passed over."""
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests import kill_and_resume
from tests.helpers import make_classes
from tests.small_training import batches_of, random_classifier, small_classifier, trained
from training.loop import Plan, Training
from training.optimizers import optimizer_variables
from training.plateau import EarlyStop, Plateau
from training.schedules import make_schedule
from training.signals import Interrupted
from training.snapshots import SnapshotError, Snapshots, named_variables, read_snapshot


class Stop(Exception):
    """The training is cut off."""


def training(folder, *, cut_at=None, **plan):
    """A Training with all that has a state: dropout and stochastic depth, loss scale, AdaCos's scale,
    plateau, early stop, averaged weights. cut_at: raise Stop after so many steps."""
    schedule = make_schedule("plateau", 0.05, steps_per_epoch=3, n_epochs=4, warmup_epochs=1)
    model = random_classifier("mixed_float16", schedule, ema=0.9, clip_norm=1.0)
    figures = {1: 0.4, 2: 0.3, 3: 0.3, 4: 0.5}

    def validate(model):
        return {"val_accuracy": figures[run.progress.epochs + 1]}
    run = Training(model, tf.distribute.get_strategy(), folder,
                   Plan(3, 4, "val_accuracy", 8, **plan), batches_of, validate=validate,
                   plateau=Plateau(schedule, factor=0.5, patience=1),
                   early_stop=EarlyStop(patience=3))
    execute = run.execute

    def counted(iterator, steps):
        if cut_at is not None and run.progress.step >= cut_at:
            raise Stop
        execute(iterator, steps)
    run.execute = counted
    return run


def everything(run):
    return {name: run.snapshots._values(variable) for name, variable in
            run.snapshots.variables.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = training(tmp_path_factory.mktemp("whole") / "run")
    run.run()
    return run


def test_all_that_a_training_is_goes_on_bit_for_bit(uninterrupted, tmp_path):
    """Cut off within an epoch, after a checkpoint; the new process has other random numbers."""
    for cut_at in (5, 11):
        with pytest.raises(Stop):
            training(tmp_path, cut_at=cut_at, checkpoint_every_steps=4).run() if cut_at == 5 else \
                again.run()
        tf.random.set_seed(cut_at)
        again = training(tmp_path, checkpoint_every_steps=4, cut_at=11 if cut_at == 5 else None)
        assert again.restore() and again.progress.step == {5: 4, 11: 9}[cut_at]
    again.run()
    assert again.progress == uninterrupted.progress
    ours, theirs = everything(again), everything(uninterrupted)
    assert sorted(ours) == sorted(theirs)
    for name, value in theirs.items():
        assert ours[name].tobytes() == value.tobytes(), name
    assert (tmp_path / "log.csv").read_bytes() == (uninterrupted.folder / "log.csv").read_bytes()
    assert len(ours) == len(set(map(id, again.snapshots.variables.values())))


def test_a_state_that_is_left_out_would_be_seen(uninterrupted):
    """The states of random layers, the loss scale, the rate's multiplier and the averages are there."""
    names = " ".join(uninterrupted.snapshots.variables)
    for part in ("random_state", "loss_scale", "averages", "metrics/loss/total", "multiplier",
                 "bad_step"):
        assert part in names, part
    kept = set(map(id, uninterrupted.snapshots.variables.values()))
    model = uninterrupted.model
    for variable in [*model.variables, *optimizer_variables(model.optimizer)]:
        assert id(variable) in kept, variable.name


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, capsys):
    model = small_classifier()
    run = trained(model, tmp_path, n_epochs=3, keep_checkpoints=3)
    before = read_snapshot(tmp_path / "checkpoints" / "step-000000004.npz")[1]
    newest = tmp_path / "checkpoints" / "step-000000006.npz"
    data = newest.read_bytes()
    for damage in (data[:len(data) // 2], data[:-3], b"",
                   data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]):
        newest.write_bytes(damage)
        assert run.restore() and run.progress.step == 4
        assert "is damaged" in capsys.readouterr().out
        for name, value in everything(run).items():
            assert value.tobytes() == before[name].tobytes(), name
    for path in (tmp_path / "checkpoints").glob("step-*.npz"):
        path.write_bytes(b"no zip")
    with pytest.raises(SnapshotError, match="every snapshot in .* is damaged"):
        run.restore()


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    trained(small_classifier(), tmp_path, n_epochs=1)
    other = small_classifier(head="softmax")
    run = Training(other, tf.distribute.get_strategy(), tmp_path, Plan(2, 1, "loss", 8), None)
    with pytest.raises(SnapshotError, match="another training.*bias"):
        run.restore()


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    trained(small_classifier(), tmp_path, n_epochs=1)
    (path,) = (tmp_path / "checkpoints").glob("step-*.npz")
    assert all(name.endswith(".npy") for name in zipfile.ZipFile(path).namelist())
    state, _ = read_snapshot(path)
    assert state["step"] == 2 and len(state["rows"]) == 1
    np.savez(tmp_path / "step-000000001.npz", **{"state.json": np.array([{"a": 1}], object)},
             allow_pickle=True)
    with pytest.raises(SnapshotError, match="damaged"):
        read_snapshot(tmp_path / "step-000000001.npz")


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    variable = tf.Variable(1.0)
    snapshots = Snapshots(tmp_path, named_variables(v=variable), tf.distribute.get_strategy(), keep=2)
    assert snapshots.restore() is None
    for step in (1, 5, 30):
        snapshots.save(step, {"step": step})
    assert [path.name for path in snapshots.paths()] == ["step-000000030.npz", "step-000000005.npz"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_the_place_at_once(uninterrupted, tmp_path, number, capsys):
    run = training(tmp_path)
    execute = run.execute

    def signalled(iterator, steps):
        execute(iterator, steps)
        if run.progress.step == 4:
            os.kill(os.getpid(), number)
    run.execute = signalled
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="interrupted at step 5, which is kept") as stop:
        run.run()
    assert stop.value.signal_number == number and signal.getsignal(number) == before
    again = training(tmp_path)
    assert again.restore() and again.progress.step == 5
    again.run()
    assert again.progress.rows == uninterrupted.progress.rows


TWO_DEVICES = """
import keras2, sys, tensorflow as tf
from training.devices import choose_strategy
strategy = choose_strategy(None, cpu_replicas=2)
from tests.small_training import IMAGES, TARGETS, small_classifier
from training.loop import Plan, Training
import training.loop
folder, cut = sys.argv[1], int(sys.argv[2])
data = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8, drop_remainder=True).repeat()
with strategy.scope():
    model = small_classifier(ema=0.9)
run = Training(model, strategy, folder, Plan(4, 2, "loss", 8, checkpoint_every_steps=3),
               lambda start, worker, n: data.skip(start))
print("RESUMED", run.restore(), run.progress.step)
execute = run.execute
def counted(iterator, steps):
    if run.progress.step == cut:
        sys.exit(3)
    execute(iterator, steps)
run.execute = counted
run.run()
"""


@pytest.mark.slow
def test_statistics_of_each_device_go_on_too(tmp_path):
    """Two devices with BatchNorm: their moving statistics differ within an epoch."""
    def go(folder, cut):
        return subprocess.run([sys.executable, "-c", TWO_DEVICES, str(folder), str(cut)],
                              capture_output=True, text=True)
    assert go(tmp_path / "whole", -1).returncode == 0
    assert go(tmp_path / "cut", 7).returncode == 3
    second = go(tmp_path / "cut", -1)
    assert "RESUMED True 6" in second.stdout, second.stderr[-2000:]
    assert kill_and_resume.difference(tmp_path / "whole", tmp_path / "cut") is None


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    import create_tfrecords
    folder = tmp_path_factory.mktemp("resume")
    make_classes(folder / "set", per_class=24)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=16",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--n_folds=3",
                           "--workers=1"])
    return folder / "store"


def options(store, **more):
    given = {"data_tfrec_dir": store, "val_fold": 0, "backbone": "wide_resnet10_2", "batch_size": 8,
             "n_epochs": 3, "dropout": 0.2, "ema": 0.9, "erase": 0.5, "checkpoint_every_steps": 2,
             "optimizer": "adam", "lr": 1e-3, **more}
    return [f"--{name}={value}" for name, value in given.items()]


def test_killed_runs_end_as_one_never_killed(store, capsys):
    """The short form of tests/kill_and_resume.py: see there for the long one."""
    kill_and_resume.main(["--kills=2", "--inside_write=0.5", "--seed=1", *options(store)])
    assert "2 kills, 1 of them inside a checkpoint's writing" in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_run_dir_the_unfinished_run_is_found(store, tmp_path, monkeypatch, capsys):
    import run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").symlink_to(store)
    process = subprocess.Popen([sys.executable, kill_and_resume.__file__.replace(
        "tests/kill_and_resume.py", "run.py"), *options(store), "--job=train"], cwd=tmp_path,
        stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob("runs/*/checkpoints/step-*.npz")):
        time.sleep(0.02)
    process.terminate()
    output = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM and "SIGTERM: keeping the place" in output
    (folder,) = tmp_path.glob("runs/*")
    assert not json.loads((folder / "run.json").read_text())["finished"]
    run.main([*options(store), "--job=train"])
    said = capsys.readouterr().out
    assert f"resuming: runs/{folder.name}, step " in said
    assert json.loads((folder / "run.json").read_text())["finished"]
    assert len(list(tmp_path.glob("runs/*"))) == 1


def test_other_options_are_refused_by_name(store, tmp_path, capsys):
    import run
    folder = tmp_path / "run"
    run.main([*options(store, n_epochs=1), "--job=train", f"--run_dir={folder}"])
    run.main([*options(store, n_epochs=1, keep_checkpoints=5), "--job=train", f"--run_dir={folder}"])
    assert "is finished, nothing is left to train" in capsys.readouterr().out
    for odd, says in (({"lr": 0.002}, "its --lr is 0.001, not 0.002"),
                      ({"dropout": 0.1}, "its network is"),
                      ({"resume": "off"}, "holds a run already")):
        with pytest.raises(SystemExit, match=says):
            run.main([*options(store, **{"n_epochs": 1} | odd), "--job=train", f"--run_dir={folder}"])
    with pytest.raises(SystemExit, match="there is no run at"):
        run.main([*options(store), "--job=train", f"--run_dir={tmp_path / 'x'}", "--resume=on"])


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    from jobs.run_directory import Run, RunError, locked
    (tmp_path / "run").mkdir()
    held = locked(tmp_path / "run")
    with pytest.raises(RunError, match="is being trained by another process"):
        Run(tmp_path / "run", {}, "new").create()
    held.close()
    Run(tmp_path / "run", {}, "new").create()
