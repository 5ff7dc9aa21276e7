"""Demo turtles: the competition's layout, photographs that depend on what they should, folders kept."""
import collections
import csv
import hashlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

import create_tfrecords
from records import demo_turtles
from records.demo_folder import MARKER
from records.demo_photograph import LOCATIONS, photograph
from records.demo_shell import SIDE, make_shell
from records.store import open_store

SMALL = ["--known=4", "--others=3", "--photographs=3", "--test_photographs=10", "--size=48", "--seed=5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "turtles"
    demo_turtles.main([*SMALL, "--out_dir", str(folder), "--workers=2"])
    return folder


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MARKER}


def test_layout_of_the_folder(made):
    train, extra, test, truth, sample = (read(made / f"{name}.csv") for name in (
        "train", "extra_images", "test", "test_truth", "sample_submission"))
    assert list(train[0]) == ["image_id", "image_location", "turtle_id"]
    assert list(extra[0]) == list(truth[0]) == ["image_id", "turtle_id"]
    assert list(test[0]) == ["image_id", "image_location"]
    assert list(sample[0]) == ["image_id", *(f"prediction{i}" for i in range(1, 6))]
    ids = [row["image_id"] for row in train + extra + test]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("ID_[0-9A-Z]{8}", i) for i in ids)
    assert {p.name for p in (made / "images").iterdir()} == {f"{i}.JPG" for i in ids}
    assert cv2.imread(str(made / "images" / f"{ids[0]}.JPG")).shape == (48, 48, 3)
    for rows in (truth, sample):
        assert [row["image_id"] for row in rows] == [row["image_id"] for row in test]
    assert {row["image_location"] for row in train + test} <= set(LOCATIONS)
    known = {row["turtle_id"] for row in train}
    assert len(known) == 4 and len({row["turtle_id"] for row in extra} - known) == 3
    counts = collections.Counter(row["turtle_id"] for row in truth)
    assert counts.pop("new_turtle") == 3 and set(counts) <= known  # 0.3 of 10
    assert all(len(set(list(row.values())[1:])) == 5 and set(list(row.values())[1:]) <= known | {"new_turtle"}
               for row in sample)


def test_the_new_ones_are_nobody_else(made):
    options = demo_turtles.parse_options(SMALL)
    by_table = collections.defaultdict(set)
    for one in demo_turtles.plan(options):
        by_table[one.table].add(one.individual)
    assert by_table["train.csv"] == set(range(4)) and by_table["extra_images.csv"] <= set(range(7))
    assert len(by_table["test.csv"] - set(range(7))) == 2  # the one once, the other twice
    assert not by_table["test.csv"] & {4, 5, 6}


def test_as_many_photographs_as_promised():
    counts = [demo_turtles._count(1, individual, 7) for individual in range(2000)]
    assert set(counts) == set(range(1, 10))
    assert np.isclose(np.mean(np.array(counts) >= 6), 0.7, atol=0.03)
    assert {demo_turtles._count(1, individual, 1) for individual in range(99)} == {1, 2, 3}


def test_same_seed_same_bytes_whatever_the_workers(made, tmp_path):
    demo_turtles.main([*SMALL, "--out_dir", str(tmp_path / "one"), "--workers=1"])
    assert digest(tmp_path / "one") == digest(made)


def test_a_photograph_does_not_depend_on_the_rest_of_the_set(made, tmp_path):
    demo_turtles.main([*SMALL, "--known=5", "--others=1", "--test_photographs=0", "--workers=1",
                       "--out_dir", str(tmp_path / "x")])
    here, there = digest(made), digest(tmp_path / "x")
    both = {name for name in here if name in there and name.startswith("images/")}
    assert len(both) >= 8 and all(here[name] == there[name] for name in both)


def test_another_seed_gives_other_turtles(made, tmp_path):
    demo_turtles.main([*SMALL, "--seed=6", "--workers=1", "--out_dir", str(tmp_path / "x")])
    assert not set(digest(made).values()) & set(digest(tmp_path / "x").values())


def same_pose(shell, number=3):
    return photograph(shell, np.random.default_rng([1, number]), "Top", 96).astype(int)


def test_individuals_differ_by_their_shell_and_nothing_else():
    """The same random numbers, another shell: the ground's corners stay, the middle changes."""
    one, again, other = make_shell(1, 0), make_shell(1, 0), make_shell(1, 1)
    assert one.albedo.shape == (SIDE, SIDE, 3) and one.albedo.dtype == np.float32
    assert (one.albedo == again.albedo).all() and 0 <= one.albedo.min() and one.albedo.max() <= 1
    other = other._replace(aspect=one.aspect, height=one.height)  # whose shadow is the same
    difference = np.abs(same_pose(one) - same_pose(other))
    assert difference[32:64, 32:64].mean() > 10
    for corner in (difference[:12, :12], difference[:12, -12:], difference[-12:, :12], difference[-12:, -12:]):
        assert corner.max() == 0


def test_photographs_of_one_turtle_vary():
    shell = make_shell(1, 0)
    pictures = [same_pose(shell, number) for number in range(6)]
    assert all(np.abs(a - b).mean() > 10 for i, a in enumerate(pictures) for b in pictures[:i])


def test_a_finished_folder_is_kept_and_others_refused(made, tmp_path, capsys):
    call = [*SMALL, "--out_dir", str(made)]
    before = digest(made)
    demo_turtles.main(call)
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--seed 5 \(asked for: 9\).*--overwrite"):
        demo_turtles.main([*call, "--seed=9"])
    assert digest(made) == before
    tiny = ["--known=4", "--others=0", "--photographs=1", "--test_photographs=0", "--size=32", "--workers=1"]
    demo_turtles.main([*tiny, "--out_dir", str(tmp_path / "t")])
    next((tmp_path / "t" / "images").iterdir()).unlink()
    with pytest.raises(SystemExit, match="lost some of its files; give --overwrite"):
        demo_turtles.main([*tiny, "--out_dir", str(tmp_path / "t")])
    demo_turtles.main([*tiny, "--seed=2", "--out_dir", str(tmp_path / "t"), "--overwrite"])
    assert len(list((tmp_path / "t" / "images").iterdir())) == len(read(tmp_path / "t" / "train.csv")) + len(
        read(tmp_path / "t" / "extra_images.csv"))
    for name, contents in (("mine", None), ("pages", '{"format": 2, "options": {}}')):  # of demo_pages
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious.txt").write_text("x")
        if contents:
            (tmp_path / name / MARKER).write_text(contents)
        with pytest.raises(SystemExit, match="not a set of demo turtles"):
            demo_turtles.main([*tiny, "--out_dir", str(tmp_path / name), "--overwrite"])
        assert (tmp_path / name / "precious.txt").exists()


def test_an_interrupted_run_leaves_no_half_set(tmp_path, capsys, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt
    call = ["--known=4", "--others=0", "--photographs=1", "--test_photographs=0", "--size=32", "--workers=1",
            "--out_dir", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(demo_turtles, "_write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            demo_turtles.main(call)
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial").exists()
    demo_turtles.main(call)
    assert "did not finish" in capsys.readouterr().out
    assert (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("argument, says", [
    ("--known=3", "at least 4"), ("--new_share=1.5", "at most 1"), ("--size=8", "at least 32"),
    ("--turtles=3", "unknown option --turtles")])
def test_impossible_wishes_end_at_once(tmp_path, capsys, argument, says):
    with pytest.raises(SystemExit):
        demo_turtles.main([argument, "--out_dir", str(tmp_path / "out")])
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_it_packs_as_the_competition_does(made, tmp_path):
    for source in ("train", "test"):
        create_tfrecords.main(["--format=turtle", "--data_dir", str(made), "--out_dir", str(tmp_path / source),
                               f"--source={source}", "--n_folds=2", "--size=24", "--workers=1"])
    store = open_store(tmp_path / "train")
    assert len(store.class_names) == 7 and len(store.known_classes) == 4
    assert sorted(open_store(tmp_path / "test").manifest.id) == [row["image_id"] for row in read(made / "test.csv")]


def test_help_needs_no_heavy_module():
    code = "import sys, records.demo_turtles; print({'cv2', 'numpy', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
