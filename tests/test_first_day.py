"""First-day statistics against NumPy on all pixels, of a packed store and of folders."""
import colorsys
import hashlib
import json

import cv2
import numpy as np
import pandas as pd
import pytest

import create_tfrecords
from records.store import open_store
from records.stored_images import stored_images
from reports import image_statistics
from reports.first_day import main
from reports.image_statistics import BINS, CHANNELS, Moments, PixelStatistics, summary_rows
from reports.label_statistics import LabelError, label_table, membership, pair_table

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("mean", [0, 1e8])
def test_moments_are_those_of_numpy_however_the_values_come(mean):
    """With the sum of squares the deviation at 1e8 would be lost."""
    values = RANDOM.normal(mean, [1, 0.01], (1000, 2))
    moments = Moments(2)
    for part in np.split(values, [0, 1, 1, 300, 999]):
        moments.add(part)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-6)
    assert (moments.least == values.min(0)).all() and (moments.most == values.max(0)).all()


def expected_pixels(images):
    """float64 [pixels, 6], by the standard library."""
    pixels = np.concatenate([image.reshape(-1, 3)[:, ::-1] for image in images]) / 255
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels]) * [360, 1, 1]
    return np.concatenate([pixels, hsv], 1)


def check_pixels(table, images, column="value"):
    values = expected_pixels(images)
    for k, channel in enumerate(CHANNELS):
        own = table[table["of"] == channel].set_index("statistic")[column]
        expected = [values[:, k].mean(), values[:, k].std(), values[:, k].min(), values[:, k].max()]
        np.testing.assert_allclose(own[["mean", "std", "min", "max"]], expected, rtol=2e-5, atol=2e-5)


def test_pixels_are_counted_in_parts(monkeypatch):
    monkeypatch.setattr(image_statistics, "AT_ONCE", 50)
    images = [RANDOM.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((9, 17), (1, 1), (40, 3))]
    images.append(np.full((3, 3, 3), 255, np.uint8))
    statistics = PixelStatistics()
    for image in images:
        statistics.add(image)
    check_pixels(pd.DataFrame(statistics.rows(), columns=["of", "statistic", "value"]), images)
    values = expected_pixels(images)
    assert (statistics.counts.sum(1) == len(values)).all()
    for k, moved in ((0, 0), (4, 12)):  # of saturations on an edge, float32 may fall either way
        counts, _ = np.histogram(values[:, k], BINS, (0, 1))
        assert np.abs(statistics.counts[k] - counts).sum() <= moved


def test_summaries_are_those_of_numpy():
    values = RANDOM.lognormal(5, 1, 77)
    found = {statistic: value for _, statistic, value in summary_rows("x", values)}
    assert found["std"] == pytest.approx(values.std()) and found["max"] == values.max()
    assert found["q0.05"] == pytest.approx(np.quantile(values, 0.05)) and found["q0.5"] == np.median(values)


def test_labels_and_pairs_are_counted():
    label_ids = [" ".join(map(str, np.flatnonzero(row))) for row in RANDOM.random((60, 6)) < 0.4]
    names = [f"culture::{k}" if k < 3 else f"tag::{k}" for k in range(6)]
    has = membership([*label_ids, "1 1"], 6)
    dense = np.array([[str(k) in text.split() for k in range(6)] for text in [*label_ids, "1"]])
    assert (has.toarray() == dense).all()
    table = label_table(has, names, ["culture"] * 3 + ["tag"] * 3).set_index("label")
    for k, name in enumerate(names):
        assert table.loc[name, "count"] == dense[:, k].sum() and table.loc[name, "group"] == name.split("::")[0]
        assert table.loc[name, "share"] == pytest.approx(dense[:, k].mean())
    assert table["count"].is_monotonic_decreasing
    pairs = pair_table(has, names)
    expected = {(names[a], names[b]): (dense[:, a] & dense[:, b]) for a in range(6) for b in range(a + 1, 6)}
    assert len(pairs) == sum(both.any() for both in expected.values())
    for row in pairs.itertuples():
        both = expected[row.label_a, row.label_b]
        a, b = (dense[:, names.index(name)].mean() for name in (row.label_a, row.label_b))
        assert row.count == both.sum() and row.lift == pytest.approx(both.mean() / (a * b))


@pytest.mark.parametrize("text", ["6", "-1", "x", "1.0", "²"])
def test_labels_that_are_no_classes_are_refused(text):
    with pytest.raises(LabelError, match="of row 1 has .* below the 6 classes"):
        membership(["0", text], 6)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder of two classes, another of none, and a store of the first."""
    folder = tmp_path_factory.mktemp("first_day")
    for k in range(9):
        (folder / f"set/class{k % 2}").mkdir(parents=True, exist_ok=True)
        image = RANDOM.integers(0, 256, (20 + 7 * k, 31 - k, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"set/class{k % 2}/{k}.png"), image)
    (folder / "flat").mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"flat/{k}.png"), np.full((10, 400 if k else 5, 3), 50 * k, np.uint8))
    (folder / "flat/bad.jpg").write_bytes(b"no image")
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", f"--out_dir={folder / 'store'}",
                           "--size=16", "--channels=3", "--encoding=png", "--workers=1"])
    return folder


def multilabel(places, folder):
    """A copy of the store with several labels a record."""
    folder.mkdir()
    for file in (places / "store").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = pd.read_csv(folder / "manifest.csv", keep_default_na=False)
    manifest["label_ids"] = ["0 1", "0 1 2", "", "2", "0", "0 1", "1", "0", "0 2"]
    text = manifest.to_csv(index=False)
    (folder / "manifest.csv").write_text(text)
    info = json.loads((folder / "dataset.json").read_text())
    info |= {"multilabel": True, "class_names": ["culture::a", "tag::b", "tag::c", "tag::never"],
             "label_groups": {"culture": [0], "tag": [1, 2, 3]},
             "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def plots(folder):
    found = {p.name: cv2.imread(str(p)) for p in folder.glob("*.png")}
    assert all(min(picture.shape[:2]) > 300 for picture in found.values())
    return sorted(found)


def test_of_a_store(places, tmp_path, capsys):
    main([f"--data_tfrec_dir={places / 'store'}", f"--out_dir={tmp_path / 'out'}"])
    table = pd.read_csv(tmp_path / "out/statistics.csv")
    records = [cv2.imdecode(np.frombuffer(data, np.uint8), 1)
               for _, data in stored_images(open_store(places / "store"))]
    assert len(records) == 9 and records[0].shape == (16, 16, 3)
    check_pixels(table, records)
    of = table.set_index(["of", "statistic"])["value"]
    heights, widths = 20 + 7 * np.arange(9), 31 - np.arange(9)
    assert of["height", "max"] == 76 and of["width", "std"] == pytest.approx(widths.std())
    assert of["aspect", "q0.25"] == pytest.approx(np.quantile(widths / heights, 0.25))
    assert of["images", "count"] == 9 and of["pixels", "count"] == 9 * 256
    labels = pd.read_csv(tmp_path / "out/labels.csv")
    assert labels.values.tolist() == [["class0", 5, pytest.approx(5 / 9)], ["class1", 4, pytest.approx(4 / 9)]]
    assert not (tmp_path / "out/pairs.csv").exists()
    assert plots(tmp_path / "out") == ["channels.png", "labels.png", "sizes.png"]
    assert "looked at: 9 images" in capsys.readouterr().out


def test_of_a_store_of_several_labels_beside_another(places, tmp_path):
    main([f"--data_tfrec_dir={multilabel(places, tmp_path / 'many')}", f"--other={places / 'store'}",
          f"--out_dir={tmp_path / 'out'}"])
    table = pd.read_csv(tmp_path / "out/statistics.csv").set_index(["of", "statistic"])
    assert table.loc[("labels of a record", "mean")].tolist() == [pytest.approx(13 / 9), 1]
    assert table.loc[("red", "mean"), "value"] == table.loc[("red", "mean"), "value_other"]
    labels = pd.read_csv(tmp_path / "out/labels.csv").set_index("label")
    assert labels["count"].dropna().to_dict() == {"culture::a": 6, "tag::b": 4, "tag::c": 3, "tag::never": 0}
    assert labels["group"].dropna().tolist() == ["culture", "tag", "tag", "tag"]
    assert labels["count_other"].dropna().to_dict() == {"class0": 5, "class1": 4}
    pairs = pd.read_csv(tmp_path / "out/pairs.csv")
    assert pairs[["label_a", "label_b", "count"]].values.tolist() == [
        ["culture::a", "tag::b", 3], ["culture::a", "tag::c", 2], ["tag::b", "tag::c", 1]]
    assert pairs["lift"].tolist() == pytest.approx([3 * 9 / 24, 2 * 9 / 18, 9 / 12])
    assert plots(tmp_path / "out") == ["channels.png", "labels.png", "sizes.png", "together.png"]


def test_of_folders(places, tmp_path, capsys):
    main([f"--images={places / 'set'}", f"--other={places / 'flat'}", f"--out_dir={tmp_path / 'out'}"])
    table = pd.read_csv(tmp_path / "out/statistics.csv")
    check_pixels(table, [cv2.imread(str(p)) for p in (places / "set").rglob("*.png")])
    check_pixels(table, [cv2.imread(str(p)) for p in (places / "flat").rglob("*.png")], "value_other")
    assert pd.read_csv(tmp_path / "out/labels.csv")["label"].tolist() == ["class0", "class1"]
    assert plots(tmp_path / "out") == ["channels.png", "labels.png", "sizes.png"]
    assert "left out 1 bad images, the first: bad.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("damage, says", [
    (lambda data: data[:-30], "shard .* has"), (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "is damaged")])
def test_damaged_stores_are_refused(places, tmp_path, damage, says):
    folder = multilabel(places, tmp_path / "many")
    shard = next(folder.glob("*.tfrecord"))
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(SystemExit, match=says):
        main([f"--data_tfrec_dir={folder}", f"--out_dir={tmp_path / 'out'}"])


def test_what_is_not_there_is_refused(places, tmp_path):
    for arguments in ([f"--images={tmp_path / 'nothing'}"], [f"--data_tfrec_dir={tmp_path}"]):
        with pytest.raises(SystemExit, match="first_day: no "):
            main([*arguments, f"--out_dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
