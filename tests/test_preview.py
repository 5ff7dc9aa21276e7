"""--job=preview shows the first training batch as it is, and leaves nothing but the picture."""
import cv2
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
import jobs.preview
import run
from records.letterbox import Letterbox
from records.store import open_store
from reports.example_grid import GAP, LINE
from tests.helpers import make_classes, make_kaggle

PAGE = 96  # px, side of a page's record
DETECT = ["--task=detect", "--affine_p=0", f"--dim={PAGE}", "--batch_size=2", "--max_characters=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stores of 72 images, a quarter of which validates, and of four pages, of which two do."""
    folder = tmp_path_factory.mktemp("stores")
    make_classes(folder / "set", per_class=24)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=24",
                           f"--out_dir={folder / 'classify'}", "--encoding=png", "--workers=1",
                           r"--group_regex=_(\d)\.png$", "--val_split=last=3"])
    make_kaggle(folder / "kaggle")
    create_tfrecords.main([f"--data_dir={folder / 'kaggle'}", "--records=pages", f"--size={PAGE}",
                           f"--out_dir={folder / 'detect'}", "--workers=1", "--val_split=b=b"])
    return folder


@pytest.fixture
def shown(folder, tmp_path, monkeypatch):
    """A function that previews a store: (the picture, RGB; images, captions and boxes drawn)."""
    monkeypatch.chdir(tmp_path)
    drawn, draw_grid = {}, jobs.preview.draw_grid

    def spy(path, images, captions, boxes=None, **layout):
        drawn.update(images=images, captions=captions, boxes=boxes)
        draw_grid(path, images, captions, boxes=boxes, **layout)
    monkeypatch.setattr(jobs.preview, "draw_grid", spy)

    def preview(store, *options):
        before = sorted(folder.rglob("*"))
        run.main([f"--data_tfrec_dir={folder / store}", "--job=preview", "--preview_png=new/a.png",
                  *options])
        assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["new", "a.png"]
        assert sorted(folder.rglob("*")) == before
        return cv2.imread("new/a.png")[..., ::-1], *map(drawn.get, ("images", "captions", "boxes"))
    return preview


def cell(picture, k, columns, side, n_lines):
    """The k-th image of the picture, `side` px wide there; above them all stands a title."""
    x = GAP + k % columns * (side + GAP)
    y = 2 * GAP + LINE + k // columns * (side + n_lines * LINE + 2 * GAP)
    return picture[y:y + side, x:x + side]


def enlarged(image, scale):
    return np.kron(image, np.ones((scale, scale, 1), np.uint8))


@pytest.mark.parametrize("options, batch, n_shown", [
    (["--split=last"], 54, 54), ([], 72, 64)])
def test_classify_shows_each_image_over_its_class(folder, shown, capsys, options, batch, n_shown):
    files = {cv2.imread(str(path))[..., ::-1].tobytes(): path
             for path in (folder / "set").rglob("*.png")}
    picture, images, captions, boxes = shown("classify", f"--batch_size={batch}", *options)
    assert f"preview: {n_shown} of the {batch} examples" in capsys.readouterr().out
    assert images.shape == (n_shown, 24, 24, 3) and len(captions) == n_shown and boxes is None
    seen = [files[image.tobytes()] for image in images]
    assert captions == [[path.parent.name] for path in seen]
    assert len(set(seen)) == n_shown, "no record twice in an epoch"
    assert any(path.stem.endswith("_3") for path in seen) == (not options), "those that validate"
    for k in (0, 9, n_shown - 1):
        assert (cell(picture, k, 8, 144, 1) == enlarged(images[k], 6)).all()


def test_classify_shows_shares_of_mixed_images(folder, shown):
    files = sorted((folder / "set").rglob("*.png"))
    single = np.stack([cv2.imread(str(path))[..., ::-1].ravel() for path in files], axis=1)
    _, images, captions, _ = shown("classify", "--batch_size=12", "--mixup=1")
    mixed = images.reshape(12, -1).T.astype(float)
    weights = np.linalg.lstsq(single.astype(float), mixed, rcond=None)[0]  # [file, image]
    classes = np.array([path.parent.name for path in files])
    n_shares = 0
    for weight, lines in zip(weights.T, captions, strict=True):
        for line in lines:
            name, *share = line.split()
            n_shares += len(share)
            of_class = weight[classes == name].sum()
            assert of_class == pytest.approx(float(share[0]) if share else 1, abs=0.02)
    assert n_shares >= 8


@pytest.mark.parametrize("options, pages", [
    (["--split=b"], {"a_0", "a_1"}), (["--batch_size=4"], {"a_0", "a_1", "b_0", "b_1"})])
def test_detect_shows_the_annotated_boxes(folder, shown, options, pages):
    store = open_store(folder / "detect")
    stored = {}
    for raw in tf.data.TFRecordDataset(store.shard_paths()):
        example = tf.train.Example.FromString(raw.numpy()).features.feature
        image = tf.io.decode_image(example["image"].bytes_list.value[0], 3).numpy()
        stored[image.tobytes()] = example["image_id"].bytes_list.value[0].decode()
    # As make_kaggle wrote them.
    truth = dict(line.split(",") for line in
                 (folder / "kaggle" / "train.csv").read_text().splitlines()[1:])
    picture, images, captions, boxes = shown("detect", *DETECT, *options)
    assert len(images) == len(pages)
    assert {stored[image.tobytes()] for image in images} == pages
    letterbox = Letterbox(140, 180, PAGE, store.info["options"]["aspect"])
    for image, caption, found in zip(images, captions, boxes, strict=True):
        words = truth[stored[image.tobytes()]].split()
        assert caption == "characters: 6" and len(words) == 5 * 6
        assert [name for *_, name in found] == words[::5]
        x, y, w, h = np.array([words[k::5] for k in range(1, 5)], float)
        expected = letterbox.to_record(np.stack([x, y, x + w, y + h], 1).reshape(-1, 2, 2))
        np.testing.assert_allclose([box[:4] for box in found], expected.reshape(-1, 4), atol=1e-3)
    inner = np.ones((PAGE * 4, PAGE * 4), bool)  # of the first image, where no box or label is drawn
    for x0, y0, x1, y1, _ in boxes[0]:
        inner[max(0, int(4 * y0) - 24):int(4 * y1) + 4, max(0, int(4 * x0) - 4):int(4 * x1) + 24] = False
    assert inner.sum() > 1000
    drawn = cell(picture, 0, 4, 4 * PAGE, 1)
    assert (drawn == enlarged(images[0], 4))[inner].all()
    assert (drawn != enlarged(images[0], 4)).any(), "its boxes"


@pytest.mark.parametrize("store, options", [
    ("classify", ["--rotate=20", "--hue=0.2", "--noise=0.1", "--icap=1", "--batch_size=12"]),
    ("detect", ["--task=detect", "--rotate=9", "--dim=64", "--batch_size=2", "--brightness=0.4"])])
def test_what_the_device_is_to_augment_is_shown_too(shown, store, options):
    pictures = [shown(store, *options, f"--augment_on={place}")[0] for place in ("host", "device")]
    assert (pictures[0] == pictures[1]).all()
