"""Streaming from shards: windows of records, read in pieces; a run that is cut off goes on bit for bit."""
import dataclasses
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import run
import training.loop
from benchmarks import streaming as benchmark
from jobs.errors import user_errors
from pipeline import streaming
from pipeline.cache import image_source
from pipeline.order import training_positions
from pipeline.shard_reading import read_encoded
from pipeline.streaming import window_reader
from records.store import open_store
from tests import kill_and_resume
from tests.test_cache import pack
from tests.test_input_benchmark import rows_of
from training.snapshots import read_snapshot


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("streaming"))


def windows_of(*windows):
    return tf.data.Dataset.from_generator(lambda: map(np.array, windows),
                                          output_signature=tf.TensorSpec([None, len(windows[0][0])], tf.int64))


@pytest.mark.parametrize("gap, remote", [(0, False), (1 << 16, False), (1 << 16, True)])
def test_windows_give_the_bytes_of_their_records_in_order(store, monkeypatch, gap, remote):
    """Any positions, some twice, over several shards; in pieces of one record, or with what lies between."""
    monkeypatch.setattr(streaming, "MOST_GAP", gap)
    rows = np.flatnonzero(np.arange(60) % 3)
    expected = read_encoded(store, rows)
    if remote:  # the way of gs://
        store = dataclasses.replace(store, folder=f"file://{os.path.abspath(store.folder)}")
    assert store.manifest["shard"].nunique() > 2
    random = np.random.default_rng(0)
    windows = [random.integers(0, 40, (5, 6)), random.permutation(40)[:36].reshape(6, 6), [[7] * 6]]
    read = list(window_reader(store, rows)(windows_of(*windows)).as_numpy_iterator())
    assert np.array_equal(read, expected[np.concatenate(windows)])


def test_what_is_not_wanted_is_read_only_between(store, monkeypatch):
    """A piece ends with the last record that is wanted: damage behind it is not seen, within it is named."""
    whole = store.manifest[store.manifest.shard == store.info["shards"][0]["file"]]
    ends = (whole.offset + whole.length + 4).to_numpy(int)
    path = store.shard_paths()[0]
    data = open(path, "rb").read()
    rows = np.arange(60)
    read = lambda *at: list(window_reader(store, rows)(windows_of([list(at)])).as_numpy_iterator())
    try:
        with open(path, "r+b") as file:
            file.seek(ends[3] + 20)  # in the fifth
            file.write(b"\xff\x00\xff")
        read(1, 3)
        with pytest.raises(tf.errors.DataLossError):
            read(3, 5)
        os.truncate(path, ends[2])
        read(1, 2)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"StoreError: .*{path}.* ends early: copy it"):
            read(1, 3)
    finally:
        open(path, "wb").write(data)


def test_a_source_without_a_cache_streams_where_a_buffer_is_given(store, capsys):
    rows = np.arange(60)
    assert image_source(store, rows, 1, "none").stream is None
    assert image_source(store, rows, 1, "encoded", buffer_size=20).stream is None
    source = image_source(store, rows, 1, "auto", cache_bytes=100, buffer_size=20)
    said = capsys.readouterr().out
    assert "--buffer_size reads blocks" in said and "records are read 20 at a time" in said
    positions = tf.data.Dataset.from_tensor_slices(np.arange(60)[::-1].copy()).batch(6, drop_remainder=True)
    images = np.concatenate(list(source.fetch(positions).as_numpy_iterator()))
    decoded = image_source(store, rows, 1, "decoded").images.numpy()
    assert source.held == 0 and np.array_equal(images, decoded[::-1])


@pytest.mark.parametrize("start", [0, 1, 9])
def test_an_epoch_streams_the_images_of_its_order(store, start):
    """From any step: the windows of the order give what batches of the same order have from memory."""
    arguments = (np.zeros(60, int), None, 3, 8, 2, start)
    source = image_source(store, np.arange(60), 1, "none", buffer_size=24)
    decoded = image_source(store, np.arange(60), 1, "decoded").images.numpy()
    windows = training_positions(*arguments, buffer_size=24, windows=True)
    order = list(training_positions(*arguments, buffer_size=24).as_numpy_iterator())
    streamed = list(source.stream(windows).as_numpy_iterator())
    assert len(order) == 14 - start and np.array_equal(decoded[np.array(order)], streamed)


def options(store, **more):
    given = {"data_tfrec_dir": store, "backbone": "wide_resnet10_2", "batch_size": 8, "n_epochs": 2,
             "checkpoint_every_steps": 2, "lr": 0.01, "cache_gb": 0, "buffer_size": 24, **more}
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


class Stop(Exception):
    """The training is cut off."""


def test_a_streaming_run_that_was_cut_off_goes_on_bit_for_bit(store, tmp_path, monkeypatch, capsys):
    """Within a window; and the encoded cache gives the same, as the order is the same."""
    def go(name, **more):
        run.main([*options(store.folder, **more), "--job=train", f"--run_dir={tmp_path / name}"])
    go("whole", cache="encoded", cache_gb=None)
    execution, steps = training.loop.execution, []

    def counted(*arguments):
        execute = execution(*arguments)

        def until(iterator, n):
            if len(steps) == 5:
                raise Stop
            steps.append(n)
            execute(iterator, n)
        return until
    monkeypatch.setattr(training.loop, "execution", counted)
    with pytest.raises(Stop):
        go("cut")
    monkeypatch.setattr(training.loop, "execution", execution)
    go("cut")
    said = capsys.readouterr().out
    assert "resuming: " in said and "step 4 of 14" in said and said.count("cache: none (encoded would take") == 2
    ends = [read_snapshot(tmp_path / name / "checkpoints" / "step-000000014.npz") for name in ("whole", "cut")]
    assert ends[0][0] == ends[1][0] and sorted(ends[0][1]) == sorted(ends[1][1])
    for name, value in ends[0][1].items():
        assert value.tobytes() == ends[1][1][name].tobytes(), name


def test_a_damaged_shard_is_said_in_a_line(store, tmp_path):
    copy = open_store(shutil.copytree(store.folder, tmp_path / "copy"))
    with open(copy.shard_paths()[0], "r+b") as file:
        file.seek(40)
        file.write(b"\xff\x00\xff")
    with pytest.raises(SystemExit, match="run.py: a shard of the store is damaged .* copy the store again"):
        with user_errors("run.py"):
            list(window_reader(copy, np.arange(60))(windows_of([[0, 1]])))


def test_cache_gb_is_of_auto(capsys):
    with pytest.raises(SystemExit):
        run.main(["--data_tfrec_dir=x", "--job=train", "--cache=none", "--cache_gb=3"])
    assert "--cache_gb is of --cache=auto" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_streaming_runs_end_as_one_never_killed(store, capsys):
    arguments = options(store.folder, n_epochs=4, dropout=0.2, erase=0.5, mixup=0.2)
    kill_and_resume.main(["--kills=4", "--inside_write=0.3", "--seed=2", *arguments])
    assert "bit-identical" in capsys.readouterr().out


@pytest.mark.slow
def test_the_benchmark_prints_rates_and_ratios(capsys):
    benchmark.main(["--records=300", "--pictures=8", "--size=48", "--shards=3", "--batch_size=16", "--buffer_size=64",
                    "--repeats=2", "--seconds=0.1"])
    said = capsys.readouterr().out
    rows = rows_of(said, "")
    assert list(rows) == ["encoded", "streaming", "decoding", "reading"] and "300 records of" in said
    assert rows["encoded"][1] == "1.00 (1.00..1.00)" == rows["decoding"][2]
