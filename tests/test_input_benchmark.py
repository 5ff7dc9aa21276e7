"""The benchmark of the input pipeline: it runs, and its figures are what they say they are."""
import contextlib
import dataclasses
import re
import tempfile
import time

import cv2
import numpy as np
import pytest

from benchmarks import input_data, input_pipeline, input_stages, input_ways, peer_opencv, peers
from benchmarks.peers import Task
from records import demo_pages
from tests.helpers import needs_opencv_5

TASK = Task(record=24, size=20, channels=3, batch_size=4, rotate=5, jitter=0.2, hue=0.1, gray=0.2,
            pca=0.1, icap=1.0)
GRAY = Task(record=24, size=20, channels=1, batch_size=4, rotate=3, jitter=0.1, mixup=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with drawn pages; what one test packs, the next finds."""
    folder = tmp_path_factory.mktemp("benchmark")
    demo_pages.main([f"--out_dir={folder / 'demo'}", "--train_pages=2", "--books=1", "--test_pages=1",
                     "--test_books=1", "--page_height=400", "--drawings=0", "--classes=20"])
    return folder


@pytest.fixture
def small(monkeypatch, folder):
    """Few small images, no warm-up, one cache, one size: a section takes seconds."""
    monkeypatch.setattr(input_data, "draw", lambda folder, pages: None)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: contextlib.nullcontext(folder))
    monkeypatch.setattr(input_pipeline, "TASKS", {"rgb112": TASK, "gray190": GRAY})
    monkeypatch.setattr(input_pipeline, "WARM_UP_BATCHES", 1)
    monkeypatch.setattr(input_pipeline, "WARM_UP_SECONDS", 0)
    monkeypatch.setattr(input_ways, "CACHES", ["auto", "decoded"])
    monkeypatch.setattr(input_stages, "KINDS", ["decoded"])
    monkeypatch.setattr(input_stages, "SIZES", (20,))
    monkeypatch.setattr(input_stages, "BATCH_SIZES", ())
    monkeypatch.setattr(input_stages, "memory", input_stages.memory_here)  # not in a new process


def rows_of(text, first):
    """{name: cells} of the Markdown table whose head begins with `first`."""
    lines = text[text.index(f"| {first} |"):].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]
             if line.startswith("|")]
    return {row[0]: row[1:] for row in cells}


@needs_opencv_5  # for the pages
@pytest.mark.parametrize("section", ["rgb112", "gray190"])
def test_a_section_prints_rates_ratios_and_shares_of_the_limits(small, capsys, section):
    input_pipeline.main([f"--section={section}", "--peers=off", "--repeats=2", "--seconds=0.02"])
    rows = rows_of(capsys.readouterr().out, "")
    limits = ["OpenCV decode", "JPEG decode in tf.data", "TFRecord read", "shuffled uint8 gather"]
    assert list(rows)[-4:] == limits
    assert list(rows)[:2] == ["ours, decoded", "ours, decoded, augment_on=device: host part"]
    form = re.compile(r"([\d.,]+) \(([\d.,]+)\.\.([\d.,]+)\)")
    for name, cells in rows.items():
        for cell in filter(None, cells):
            middle, low, high = (float(x.replace(",", "")) for x in form.fullmatch(cell).groups())
            assert low <= middle <= high
    assert rows["OpenCV decode"][1] == "1.00 (1.00..1.00)"


@pytest.mark.slow
@needs_opencv_5
def test_the_table_has_every_stage_and_the_memory_by_formula(small, capsys, monkeypatch):
    monkeypatch.setitem(input_pipeline.TASKS, "rgb112", GRAY)  # of fewer operations, so sooner made
    input_pipeline.main(["--section=table", "--repeats=1", "--seconds=0.02"])
    text = capsys.readouterr().out
    stages = rows_of(text, "stage")
    assert list(stages) == ["fetch, decoded", "draw the plan", "warp", "colour",
                            "mix, erase, normalise", "all after the plan", "whole, decoded"]
    assert all(float(cells[1]) > 0 for cells in stages.values())
    assert list(rows_of(text, "size, px")) == ["20"]
    records = int(re.search(r"([\d,]+) records x 24\^2 px x 1", text)[1].replace(",", ""))
    formula, adds, loading, running = map(float, rows_of(text, "cache")["decoded"])
    assert formula == round(records * 24**2 / 1e6, 1) and loading >= adds and running >= 0


def test_rates_are_images_per_second():
    def slow():
        while True:
            time.sleep(0.01)
            yield None
    rate = input_pipeline.images_per_second(slow(), 50, 0.1)
    assert 2500 < rate <= 5000


def test_ratios_are_of_the_same_round(capsys):
    rates = {"ours": np.array([10.0, 40.0]), "peer": np.array([5.0, 10.0]),
             "decode": np.array([20.0, 40.0])}
    input_pipeline.print_comparison(rates, ["decode"], ["ours"], ["peer"])
    rows = rows_of(capsys.readouterr().out, "")
    assert rows["peer"] == ["8 (5..10)", "0.25 (0.25..0.25)", "3.00 (2.00..4.00)"]
    assert rows["ours"][1:] == ["0.75 (0.50..1.00)", ""], "no ratio to itself"


def test_an_absent_peer_is_named(monkeypatch):
    monkeypatch.setitem(peers.PEERS, "other", ("peer_torch", "other", "no_such_package"))
    found, missing = peers.find_peers(["other"])
    assert not found and "no_such_package" in missing[0] and "pip install" in missing[0]


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit):
        input_pipeline.parse(["--section=rgb"])
    assert "rgb112, gray190, table" in capsys.readouterr().err


def batch_of_opencv(task, n=64):
    """One batch of smooth images through the OpenCV peer: (images, targets, the images)."""
    random = np.random.default_rng(0)
    shape = (task.record, task.record, 3)[:2 if task.channels == 1 else 3]
    images = [cv2.GaussianBlur(random.uniform(-400, 700, shape), (0, 0), 4).clip(0, 255).astype(
        np.uint8) for _ in range(n)]
    files = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    photos = peers.Photos(None, files, "", [], np.arange(n) % 7, 7)
    return *next(peer_opencv.opencv(photos, task, 1)), np.stack(images)[..., ::-1]


def test_opencv_shows_the_very_image_when_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(peer_opencv, "draw_crop", lambda random, n: np.tile([0.0, 0, 1, 1], (n, 1)))
    monkeypatch.setattr(peer_opencv, "draw_erased", lambda random, n: np.zeros((n, 4)))
    floats, targets, images = batch_of_opencv(Task(32, 32, 3, 64, rotate=0, jitter=0))
    order = np.random.default_rng(0).permutation(64)
    assert np.abs(floats * peers.STD + peers.MEAN - images[order] / 255).max() < 1.01 / 255
    assert np.array_equal(targets.argmax(1), order % 7)


@pytest.mark.parametrize("task", [TASK, GRAY])
def test_opencv_does_the_whole_task(task):
    floats, targets, _ = batch_of_opencv(dataclasses.replace(task, batch_size=64))
    assert floats.shape == (64, 20, 20, task.channels) and floats.dtype == np.float32
    assert floats.min() >= -2.001 and floats.max() <= 2.001
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
