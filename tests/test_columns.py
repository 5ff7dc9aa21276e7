"""Columns of characters: chains of boxes, however they are listed; what is packed of them."""
import csv
import json

import cv2
import numpy as np
import pytest

import create_tfrecords
from records.annotations import AnnotationError, SourceImage
from records.columns import chains, into_columns
from records.demo_book import make_book
from records.demo_render import columns
from records.images import decode_image, fit_line
from records.store import open_store
from records.stored_images import stored_images
from reports import second_opinion


def page_of(book, random):
    """Boxes of a demo page's columns as its writer places them, and the column of each."""
    layout, boxes, owner = book.layout, [], []
    for number, column in enumerate(columns(layout, random)):
        pitch = (column.bottom - column.top) / column.count
        drift = np.cumsum(random.normal(0, 0.045, column.count)) * layout.size
        for place in range(column.count):
            w, h = layout.size * random.uniform((0.4, 0.3), (1.1, 1.05))
            x = column.x + 0.5 * drift[place] + random.normal(0, 0.02) * layout.size
            boxes.append((x - w / 2, column.top + (place + 0.5) * pitch - h / 2, w, h))
            owner.append(number)
    return np.round(boxes).astype(int), np.array(owner)


@pytest.mark.parametrize("number", range(8))
def test_the_columns_of_a_page_are_found_in_any_order(number):
    random = np.random.default_rng(number)
    boxes, owner = page_of(make_book(1, number, 1600), random)
    order = random.permutation(len(boxes))
    found = chains(boxes[order])
    assert [order[column].tolist() for column in found] == [
        np.flatnonzero(owner == k).tolist() for k in range(owner.max() + 1)]


def test_gaps_side_by_side_and_nothing():
    assert chains(np.zeros((0, 4))) == []
    assert chains([[0, 0, 10, 10]]) == [[0]]
    assert chains([[0, 0, 10, 10], [1, 12, 10, 10], [0, 60, 10, 10]]) == [[0, 1], [2]]  # too far below
    assert chains([[0, 0, 10, 10], [6, 12, 10, 10]]) == [[1], [0]]  # too far aside
    assert chains([[0, 0, 10, 10], [0, 0, 10, 10]]) == [[0, 1]]  # found twice
    # Two under one: the nearer is its next, and the other begins a column.
    assert chains([[0, 0, 20, 10], [0, 12, 9, 10], [11, 14, 9, 10]]) == [[2], [0, 1]]


def image_of(labels, boxes, **more):
    return SourceImage("p", "p.jpg", None, "p", labels, np.array(boxes), -1, "t.csv", 2, **more)


def test_boxes_texts_scores_and_rows_of_columns():
    boxes = [[100, 50, 20, 20], [10, 10, 30, 20], [12, 35, 20, 25], [98, 20, 20, 25]]
    image = image_of(["U+3042", "U+0041", "U+20BB7", "U+3044"], boxes)
    into_columns(image, "t.csv")
    assert image.boxes.tolist() == [[98, 20, 22, 50], [10, 10, 30, 50]]
    assert image.labels == ["いあ", "A𠮷"] and image.record_ids("boxes") == ["p:0", "p:1"]
    for most, texts in ((3, ["いあ", "A𠮷"]), (1, ["い", "あ", "A", "𠮷"])):
        image = image_of(["U+3042", "U+0041", "U+20BB7", "U+3044"], boxes)
        into_columns(image, "t.csv", most)
        assert image.labels == texts and len(image.boxes) == len(texts)
    assert image.boxes.tolist() == [boxes[k] for k in (3, 0, 1, 2)]
    long = image_of(["U+0041"] * 7, [[0, 10 * k, 9, 9] for k in range(7)])
    into_columns(long, "t.csv", 3)
    assert list(map(len, long.labels)) == [3, 2, 2] and long.boxes[1].tolist() == [0, 30, 9, 19]
    found = image_of([""] * 4, np.float64(boxes), scores=np.array([0.5, 0.2, 0.4, 1.0]),
                     detected=("d.csv", np.array([2, 3, 4, 5])))
    into_columns(found, "d.csv")
    assert found.labels == ["", ""] and found.scores.tolist() == pytest.approx([0.75, 0.3])
    assert found.detected[1].tolist() == [5, 3] and found.boxes.dtype == np.float64
    empty = image_of([], np.zeros((0, 4), int))
    into_columns(empty, "t.csv")
    assert empty.boxes.shape == (0, 4) and empty.labels == []
    with pytest.raises(AnnotationError, match="'cat' of page p is not of the form U"):
        into_columns(image_of(["cat"], [[0, 0, 1, 1]]), "t.csv")


def test_a_line_keeps_its_aspect():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (10, 24, 3)).astype(np.uint8)
    line = fit_line(image, 20, 80)
    enlarged = cv2.resize(image, (48, 20), interpolation=cv2.INTER_CUBIC)
    assert (line[:, 16:64] == enlarged).all()
    border = np.concatenate([enlarged[0], enlarged[-1], enlarged[:, 0], enlarged[:, -1]])
    assert (line[:, :16] == border.mean(0).round()).all() and (line[:, 64:] == line[0, 0]).all()
    wide = fit_line(image, 20, 12)  # as wide as it may be
    small = cv2.resize(image, (12, 5), interpolation=cv2.INTER_AREA)
    assert (wide[7:12] == small).all() and len(np.unique(wide[:7].reshape(-1, 3), axis=0)) == 1
    assert (fit_line(image, 20, 12, turned=True) == fit_line(np.ascontiguousarray(np.rot90(image)), 20, 12)).all()
    bright = np.zeros((40, 10, 1), np.uint8)
    bright[:10] = 255  # at the top, so that it is read first
    turned = fit_line(bright, 10, 40, turned=True)
    assert (turned[:, :10] == 255).all() and (turned[:, 10:] == 0).all()


@pytest.fixture
def pages(tmp_path):
    """Two pages with two columns each: {page: {column's box: text}}."""
    random, rows, truth = np.random.default_rng(1), [], {}
    (tmp_path / "train_images").mkdir()
    for page in ("a_1", "b_1"):
        image = random.integers(0, 256, (120, 90, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"train_images/{page}.png"), image)
        labels = [(f"U+{0x3042 + 2 * k + (page == 'b_1'):04X}", x, 10 + 30 * k, 20, 24)
                  for x in (60, 15) for k in range(3)]
        rows.append((page, " ".join(" ".join(map(str, label)) for label in reversed(labels))))
        text = "".join(chr(int(label[0][2:], 16)) for label in labels[:3])
        truth[page] = {(60, 10, 20, 84): text, (15, 10, 20, 84): text}
    with open(tmp_path / "train.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image_id", "labels"), *rows])
    return tmp_path, truth


def pack(folder, out, *arguments):
    create_tfrecords.main([f"--data_dir={folder}", f"--out_dir={folder / out}", "--workers=1", *arguments])
    return open_store(folder / out)


COLUMNS = ["--records=columns", "--size=16", "--aspect=5", "--denoise=off", "--local_contrast=off"]


def test_columns_are_packed_with_their_texts(pages):
    folder, truth = pages
    store = pack(folder, "store", *COLUMNS, "--val_split=b=b")
    assert store.text and store.lines and store.record_size == (16, 80)
    assert store.info["characters"] == "あぃいぅうぇ" == "".join(store.class_names)
    assert store.info["class_counts"] == [2] * 6 and store.info["options"]["fit"] == "column"
    assert set(store.manifest["label_id"]) == {-1} and set(store.manifest["split_b"]) == {"train", "val"}
    for row, data in stored_images(store):
        record = store.manifest.iloc[row]
        box = tuple(int(record[c]) for c in "xywh")
        assert record["label"] == truth[record["image_id"]][box]
        x, y, w, h = box
        page = cv2.imread(str(folder / f"train_images/{record['image_id']}.png"))
        assert (decode_image(data) == fit_line(page[y:y + h, x:x + w], 16, 80, turned=True)).all()
    assert sorted(store.manifest["id"]) == ["a_1:0", "a_1:1", "b_1:0", "b_1:1"]


def test_columns_of_what_a_detector_found(pages):
    folder, truth = pages
    boxes = [("a_1", x + 0.3, y, 19.5, 24, 0.9, "", "") for x in (60, 15) for y in (10, 40, 70)]
    boxes.append(("b_1", 15, 10, 20, 24, 0.5, "", ""))
    with open(folder / "found.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image_id", "x", "y", "w", "h", "score", "label", "label_score"), *boxes])
    store = pack(folder, "found", *COLUMNS, "--source=test", f"--detections={folder / 'found.csv'}",
                 f"--image_dir={folder / 'train_images'}")
    assert sorted(store.manifest["id"]) == ["a_1:0", "a_1:1", "b_1:0"] and store.info["characters"] == ""
    assert set(store.manifest["label"]) == {""}
    rows = store.manifest.set_index("id")
    assert rows.loc["a_1:0", ["x", "y", "w", "h"]].tolist() == [60, 10, 20, 84]
    assert rows["score"].to_dict() == {"a_1:0": 0.9, "a_1:1": 0.9, "b_1:0": 0.5}


def test_texts_are_packed_and_bad_ones_named(tmp_path, capsys):
    random = np.random.default_rng(2)
    for k in range(4):
        cv2.imwrite(str(tmp_path / f"{k}.png"), random.integers(0, 256, (12, 30 + k, 3)).astype(np.uint8))
    rows = [("0.png", 'a,"b'), ("1.png", " NA"), ("2.png", "a"), ("3.png", "né")]

    def table(rows):
        with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "text", "group"), *((*row, row[0][0]) for row in rows)])
    table(rows)
    how = ["--format=text", f"--csv={tmp_path / 't.csv'}", "--encoding=png"]
    store = pack(tmp_path, "texts", *how, "--n_folds=2", "--folds_by_group=on")
    assert store.manifest.set_index("id")["label"].to_dict() == dict(rows)
    assert store.class_names == sorted(set('a,"b NAné')) and store.record_size == (32, 128)
    assert set(store.manifest["fold"]) == {0, 1} and store.manifest["label_id"].eq(-1).all()
    example = json.loads((tmp_path / "texts/dataset.json").read_text())
    assert example["image"] == {"size": 32, "channels": 3, "width": 128, "encoding": "png"}
    test = pack(tmp_path, "test", *how, "--source=test")
    assert set(test.manifest["label"]) == {""} and test.info["characters"] == ""
    table([("0.png", ""), ("1.png", "two\nlines"), ("2.png", "fine"), ("2.png", "fine")])
    with pytest.raises(SystemExit) as stop:
        pack(tmp_path, "bad", *how)
    said = str(stop.value)
    assert "3 bad rows" in said and "'0.png' has no text" in said and "U+000A, a control character" in said
    for says, arguments in (
            ("--aspect goes with", ["--format=csv", "--aspect=3"]), ("give line or column", ["--fit=crop", *how]),
            ("--csv goes with --format=kuzushiji or csv or text", ["--format=folder", "--csv=x"]),
            ("--records=columns goes with", ["--format=coco", "--json=x", "--records=columns"]),
            ("--pseudo goes with", [*how, "--pseudo=x"])):
        with pytest.raises(SystemExit):
            pack(tmp_path, "bad", *arguments)
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit, match="share_rare is for classes"):
        pack(tmp_path, "bad", *how[:-1], "--skip_bad", "--share_rare=on")


def test_lines_of_any_format_are_cut_without_texts(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/a/0.png"), np.zeros((12, 30, 3), np.uint8))
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'images'}", f"--out_dir={tmp_path / 'lines'}",
                           "--fit=line", "--aspect=2", "--source=test", "--workers=1"])
    store = open_store(tmp_path / "lines")
    assert store.lines and not store.text and store.record_size == (32, 64)


def test_a_point_in_two_columns_belongs_to_the_nearer():
    boxes = np.array([(0, 0, 40, 50), (20, 0, 40, 50), (200, 0, 10, 10)], float)
    points = np.array([(38, 40), (22, 30), (25, 10), (35, 20), (100, 5)])
    assert second_opinion.in_columns([f"U+{0x3042 + 2 * k:04X}" for k in range(5)], points, boxes) == ["うい", "えあ", ""]
    assert second_opinion.in_columns([], np.zeros((0, 2), int), boxes) == ["", "", ""]


def test_a_second_opinion_names_the_columns_that_differ(pages, capsys):
    folder, _ = pages
    boxes = [(page, x, y, 20, 24, 0.9, "", "") for page in ("a_1", "b_1") for x in (60, 15) for y in (10, 40, 70)]
    with open(folder / "found.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image_id", "x", "y", "w", "h", "score", "label", "label_score"), *boxes])
    pack(folder, "found", *COLUMNS, "--source=test", f"--detections={folder / 'found.csv'}",
         f"--image_dir={folder / 'train_images'}")
    points = [(f"U+{0x3042 + 2 * k:04X}", 70, 22 + 30 * k) for k in (2, 0, 1)]  # in no order, あいう from the top
    points += [("U+3048", 25, 22), ("U+304A", 5, 5)]  # え in the left column, お in none
    with open(folder / "submission.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image_id", "labels"), ("b_1", ""),
                                    ("a_1", " ".join(" ".join(map(str, point)) for point in points))])
    texts = {"a_1:0": "あいう", "a_1:1": "NA", "b_1:0": "", "b_1:1": "か"}

    def opinion(texts):
        with open(folder / "texts.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "text", "confidence"), *((*row, 0.5) for row in texts.items())])
        second_opinion.main([f"--data_tfrec_dir={folder / 'found'}", f"--texts={folder / 'texts.csv'}",
                             f"--submission={folder / 'submission.csv'}", f"--out_csv={folder / 'out/opinion.csv'}"])
    opinion(texts)
    assert "2 of 4 columns are read alike, 3 edits to 4 characters" in capsys.readouterr().out
    with open(folder / "out/opinion.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["characters"], row["columns"], row["edits"]) for row in rows] == [
        ("a_1:1", "え", "NA", "2"), ("b_1:1", "", "か", "1"), ("a_1:0", "あいう", "あいう", "0"), ("b_1:0", "", "", "0")]
    assert [rows[0][c] for c in ("image_id", "x", "y", "w", "h", "confidence")] == ["a_1", "15", "10", "20", "84", "0.5"]
    with pytest.raises(SystemExit, match="is not of the 4 columns"):
        opinion({"a_1:0": "あ"})
    with open(folder / "submission.csv", "w") as file:
        file.write("image_id,labels\na_1,\n")
    with pytest.raises(SystemExit, match="lacks 1 pages of the columns, the first 'b_1'"):
        opinion(texts)
