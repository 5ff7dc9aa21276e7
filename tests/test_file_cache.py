"""The file cache: found again when it is right, never used when it is not, whatever was killed."""
import collections
import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from pipeline import file_cache
from pipeline.cache import image_source
from pipeline.file_cache import CacheError, cache_folder, open_file_cache
from records.store import StoreError
from tests.test_cache import images_of, pack

SHAPE = (6, 5, 3)
ROWS = np.array([4, 0, 7, 2])
IMAGES = np.random.default_rng(0).integers(0, 256, (len(ROWS), *SHAPE)).astype(np.uint8)


@dataclasses.dataclass
class FakeStore:
    folder: str
    info: dict


def fake_store(folder="/data/store", shard="aa"):
    return FakeStore(folder, {"manifest_sha256": "cc", "image": {"size": 6, "encoding": "png"},
                              "shards": [{"file": "a-0", "bytes": 9, "sha256": shard}]})


def opened(folder, store=None, rows=ROWS, images=IMAGES):
    """(what open_file_cache returns, whether it wrote it)"""
    written = []

    def fill(array):
        array[:] = images
        written.append(True)
    mapped = open_file_cache(folder, store or fake_store(), rows, images.shape[1:], fill)
    assert mapped.dtype == tf.uint8 and (mapped.numpy() == images).all()
    return mapped, bool(written)


def names(folder):
    """How many files there are of each kind."""
    return collections.Counter(path.suffix for path in folder.iterdir() if path.name != "lock")


def test_it_is_written_once_and_found_again(tmp_path, capsys):
    folder = tmp_path / "new" / "cache"
    assert opened(folder)[1]
    assert "GB free to" in capsys.readouterr().out
    assert not opened(folder)[1]
    out = capsys.readouterr().out
    assert out.startswith("cache: file (as told; 0.00 GB found in ") and "4 records" in out
    assert names(folder) == {".u8": 1, ".json": 1}


def test_a_store_s_images_come_from_it(tmp_path):
    store = pack(tmp_path)
    rows = np.arange(60)[::-2]
    expected = images_of(store, "none", rows)[0]
    for _ in range(2):
        images, source = images_of(store, "file", rows)
        assert (images == expected).all() and source.held == 0
    assert names(tmp_path / "store" / "cache") == {".u8": 1, ".json": 1}
    image_source(store, rows, 1, "file", str(tmp_path / "elsewhere"))
    assert names(tmp_path / "elsewhere") == {".u8": 1, ".json": 1}


def test_other_rows_or_channels_are_another_file(tmp_path):
    for rows, images in [(ROWS, IMAGES), (ROWS[::-1].copy(), IMAGES[::-1]), (ROWS, IMAGES[..., :1])]:
        assert opened(tmp_path, None, rows, images)[1]
    assert names(tmp_path) == {".u8": 3, ".json": 3}
    assert not opened(tmp_path)[1]
    assert not opened(tmp_path, fake_store("/data/copy"))[1]  # the same records, elsewhere


def test_a_repacked_store_does_not_get_the_old_images(tmp_path, capsys):
    opened(tmp_path)
    opened(tmp_path, fake_store("/data/other", "bb"))  # of another store: stays
    new = 255 - IMAGES
    assert opened(tmp_path, fake_store(shard="dd"), images=new)[1]
    assert "was repacked since" in capsys.readouterr().out
    assert names(tmp_path) == {".u8": 2, ".json": 2}
    assert opened(tmp_path)[1]  # and back again


@pytest.mark.parametrize("what", ["manifest_sha256", "image", "shards"])
def test_whatever_decides_the_pixels_is_in_the_name(tmp_path, what):
    other = fake_store()
    other.info[what] = "another" if what != "shards" else []
    opened(tmp_path)
    assert opened(tmp_path, other)[1]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"0")


def with_header(**fields):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("suffix, damage", [
    (".json", with_header(blocks=None)), (".json", with_header(blocks=[])),
    (".json", with_header(blocks="0")), (".json", with_header(what=None)),
    (".json", with_header(what={})), (".json", with_header(store=None)),
    (".u8", flip), (".u8", cut), (".u8", lengthen), (".u8", lambda path: path.unlink()),
    (".json", cut), (".json", lambda path: path.unlink()), (".json", lambda path: path.write_text("")),
    (".json", lambda path: path.write_text("[1]")), (".json", lambda path: path.write_text("{}")),
    (".json", lambda path: path.write_text(path.read_text().replace('"rows": "', '"rows": "0')))])
def test_a_damaged_one_is_written_anew(tmp_path, suffix, damage):
    opened(tmp_path)
    damage(next(tmp_path.glob(f"*{suffix}")))
    assert opened(tmp_path)[1]
    assert not opened(tmp_path)[1]
    assert names(tmp_path) == {".u8": 1, ".json": 1}


def test_of_a_large_one_some_blocks_are_checked_other_ones_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(file_cache, "BLOCK", 7)
    images = np.random.default_rng(1).integers(0, 256, (len(ROWS), 10, 10, 1)).astype(np.uint8)
    opened(tmp_path, images=images)
    sums = json.loads(next(tmp_path.glob("*.json")).read_text())["blocks"]
    assert len(sums) == -(-400 // 7)
    checked, block_sum = [], file_cache._block_sum

    def counted(pixels, block):
        checked.append(block)
        return block_sum(pixels, block)
    monkeypatch.setattr(file_cache, "_block_sum", counted)
    for opening in range(1, 31):
        assert not opened(tmp_path, images=images)[1]
        assert len(checked) == 16 * opening
    assert set(checked) == set(range(len(sums)))
    for _ in range(5):  # its size is looked at even when its last block is not
        cut(next(tmp_path.glob("*.u8")))
        assert opened(tmp_path, images=images)[1]


KILLED = """
import keras2, os, pathlib, signal
from pipeline import file_cache
from tests.test_file_cache import IMAGES, ROWS, SHAPE, fake_store
def fill(array):
    array[:2] = IMAGES[:2]
    if {when!r} == "filling":
        os.kill(os.getpid(), signal.SIGKILL)
    array[:] = IMAGES
file_cache.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
file_cache.open_file_cache(pathlib.Path({folder!r}), fake_store(), ROWS, SHAPE, fill)
"""


@pytest.mark.parametrize("when, left", [("filling", {".tmp": 1}), ("before the JSON", {".u8": 1})])
def test_what_a_kill_leaves_is_replaced(tmp_path, when, left):
    done = subprocess.run([sys.executable, "-c", KILLED.format(when=when, folder=str(tmp_path))],
                          capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == left
    assert opened(tmp_path)[1]
    assert names(tmp_path) == {".u8": 1, ".json": 1}


def test_of_two_runs_at_once_one_writes_and_the_other_waits(tmp_path, monkeypatch):
    said, waiting, filled = [], threading.Event(), []

    def say(text):
        said.append(text)
        if "waiting" in text:
            waiting.set()
    monkeypatch.setattr(file_cache, "print", say, raising=False)

    def fill(array):
        assert waiting.wait(30), "the second run does not wait"
        array[:] = IMAGES
        filled.append(True)
    results = []
    runs = [threading.Thread(target=lambda: results.append(open_file_cache(
        tmp_path, fake_store(), ROWS, SHAPE, fill).numpy())) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(filled) == 1 and sum("waiting" in text for text in said) == 1
    assert len(results) == 2 and all((result == IMAGES).all() for result in results)


def test_a_mapped_one_stays_whole_when_it_is_removed_or_replaced(tmp_path):
    mapped, _ = opened(tmp_path)
    opened(tmp_path, fake_store(shard="dd"), images=255 - IMAGES)  # removes it
    assert opened(tmp_path)[1]
    assert (mapped.numpy() == IMAGES).all()


def test_a_full_disk_is_found_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: collections.namedtuple("U", "free")(359))
    with pytest.raises(CacheError, match="--cache=file needs .* are free: give another --cache_dir"):
        opened(tmp_path)
    assert names(tmp_path) == {}


def test_only_files_of_its_own_making_are_removed(tmp_path):
    key = "0123456789abcdef"
    own = [f"decoded-{key}.u8", f"decoded-{key[::-1]}.json", f".decoded-{key}.u8.123.tmp",
           f".decoded-{key}.json.4.tmp"]
    others = ["decoded-images.zip", "decoded-2024", "decoded-2024.u8", "decoded-2024.json",
              f"decoded-{key}.u8.bak", f"decoded-{key.upper()}.u8", f"decoded-{key}0.u8",
              f"old-decoded-{key}.u8", ".decoded-mine.tmp", f".decoded-{key}.u8.tmp",
              f".decoded-{key}.u8.mine.tmp"]
    for name in own + others:
        (tmp_path / name).write_text("")
    assert opened(tmp_path)[1]
    left = {path.name for path in tmp_path.iterdir()}
    assert left.issuperset(others) and left.isdisjoint(own)


def refusing(code):
    """A stand-in for a function of the disk."""
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))
    return refuse


@pytest.mark.parametrize("where, code", [
    ("os.posix_fallocate", errno.ENOSPC), ("os.posix_fallocate", errno.EFBIG),
    ("numpy.memmap.flush", errno.ENOSPC), ("pipeline.file_cache.write_json", errno.ENOSPC),
    ("shutil.disk_usage", errno.EIO), ("os.replace", errno.EACCES)])
def test_a_disk_that_fails_is_named(tmp_path, monkeypatch, where, code):
    with monkeypatch.context() as failing:
        failing.setattr(where, refusing(code))
        with pytest.raises(CacheError, match=f"cannot be written .{os.strerror(code)}.: give another"):
            opened(tmp_path)
    assert ".tmp" not in names(tmp_path) and ".json" not in names(tmp_path)
    assert opened(tmp_path)[1]


@pytest.mark.parametrize("suffix", [".u8", ".json"])
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path, suffix):
    opened(tmp_path)
    path = next(tmp_path.glob(f"*{suffix}"))
    path.unlink()
    path.mkdir()
    with pytest.raises(CacheError, match="cannot be written"):
        opened(tmp_path)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_reserves_nothing_will_do(tmp_path, monkeypatch, code):
    monkeypatch.setattr("os.posix_fallocate", refusing(code))
    assert opened(tmp_path)[1]
    assert not opened(tmp_path)[1]


def test_a_folder_that_can_only_be_read_serves_what_is_whole_in_it(tmp_path, monkeypatch):
    opened(tmp_path)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    monkeypatch.setattr(file_cache, "open", refusing(errno.EROFS), raising=False)
    monkeypatch.setattr("os.unlink", refusing(errno.EROFS))
    assert not opened(tmp_path)[1]
    with pytest.raises(CacheError, match="cannot be written .Read-only file system.: give another"):
        opened(tmp_path, fake_store(shard="bb"))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()) == before
    flip(next(tmp_path.glob("*.u8")))
    with pytest.raises(CacheError, match="Read-only"):
        opened(tmp_path)


def test_what_may_not_be_removed_does_not_matter(tmp_path, monkeypatch):
    opened(tmp_path)
    (tmp_path / "decoded-0123456789abcdef.u8").write_text("of another user")
    monkeypatch.setattr("pathlib.Path.unlink", refusing(errno.EPERM))
    assert not opened(tmp_path)[1]


def test_records_that_cannot_be_decoded_leave_nothing(tmp_path):
    def fill(array):
        raise StoreError("damaged")
    with pytest.raises(StoreError, match="damaged"):
        open_file_cache(tmp_path, fake_store(), ROWS, SHAPE, fill)
    assert names(tmp_path) == {}


def test_where_it_may_lie(tmp_path):
    assert str(cache_folder(fake_store())) == "/data/store/cache"
    assert cache_folder(fake_store("gs://bucket/store"), str(tmp_path)) == tmp_path
    assert cache_folder(fake_store(), "~/x") == pathlib.Path.home() / "x"
    for arguments in [(fake_store("gs://bucket/x"),), (fake_store(), "gs://bucket/x")]:
        with pytest.raises(CacheError, match="needs a folder of this machine, not gs://bucket/x"):
            cache_folder(*arguments)
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be written .*: give another --cache_dir"):
        opened(tmp_path / "file" / "cache")


def test_no_records_need_no_file(tmp_path):
    empty = open_file_cache(tmp_path / "cache", fake_store(), ROWS[:0], SHAPE, None)
    assert empty.shape == (0, *SHAPE) and not (tmp_path / "cache").exists()
