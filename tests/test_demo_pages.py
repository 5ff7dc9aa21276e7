"""Demo pages: the Kaggle layout, boxes that fit the ink, the plan of the text, folders kept and refused."""
import collections
import dataclasses
import hashlib
import itertools
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from records import demo_brush, demo_pages, demo_render, demo_strokes, demo_text
from records.demo_book import make_book
from records.demo_folder import MARKER
from tests.helpers import needs_opencv_5

pytestmark = needs_opencv_5

SMALL = ["--train_pages", "7", "--test_pages", "3", "--books", "3", "--test_books", "2", "--classes", "40",
         "--page_height", "420", "--seed", "5", "--min_count", "6"]
TINY = ["--train_pages", "1", "--test_pages", "0", "--books", "1", "--test_books", "0", "--classes", "5",
        "--page_height", "320", "--drawings", "0", "--workers", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "pages"
    demo_pages.main([*SMALL, "--out_dir", str(folder), "--workers", "2"])
    return folder


def parse(path):
    """{image_id: [(char, x, y, w, h)]}, parsed without the product's code and strictly."""
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "image_id,labels" and lines[-1] == ""
    pages = {}
    for line in lines[1:-1]:
        image_id, labels = line.split(",")
        assert re.fullmatch(r"9\d{8}_\d{5}_[12]", image_id)
        assert re.fullmatch(r"(U\+[0-9A-F]{4,5}( \d+){4}( U\+[0-9A-F]{4,5}( \d+){4})*)?", labels)
        tokens = labels.split()
        pages[image_id] = [(chr(int(tokens[i][2:], 16)), *map(int, tokens[i + 1:i + 5]))
                           for i in range(0, len(tokens), 5)]
    assert len(pages) == len(lines) - 2, "double ids"
    return pages


def digest(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MARKER}


def counts(folder):
    return collections.Counter(box[0] for boxes in parse(folder / "train.csv").values() for box in boxes)


def test_same_seed_same_bytes_whatever_the_workers(made, tmp_path):
    demo_pages.main([*SMALL, "--out_dir", str(tmp_path / "one"), "--workers", "1"])
    assert digest(tmp_path / "one") == digest(made)


def test_another_seed_gives_other_pages(tmp_path):
    for seed in ("1", "2"):
        demo_pages.main([*TINY, "--seed", seed, "--out_dir", str(tmp_path / seed)])
    one, two = digest(tmp_path / "1"), digest(tmp_path / "2")
    assert one.keys() == two.keys()
    assert {name for name in one if one[name] == two[name]} <= {
        "unicode_translation.csv", "test.csv", "test_unread.csv", "sample_submission.csv"}


def test_layout_of_the_folder(made):
    train, test = parse(made / "train.csv"), parse(made / "test.csv")
    assert len(train) == 7 and len(test) == 3
    for split, pages in (("train", train), ("test", test)):
        assert {p.name for p in (made / f"{split}_images").iterdir()} == {f"{i}.jpg" for i in pages}
    translation = (made / "unicode_translation.csv").read_text(encoding="utf-8").splitlines()
    assert translation[0] == "Unicode,char" and len(translation) == 41
    for row in translation[1:]:
        code, char = row.split(",")
        assert code == f"U+{ord(char):04X}"
    known = {row.split(",")[1] for row in translation[1:]}
    assert known >= {box[0] for boxes in (train | test).values() for box in boxes}
    sample = (made / "sample_submission.csv").read_text().splitlines()
    assert sample == ["image_id,labels"] + [f"{i},U+003F 1 1 U+FF2F 2 2" for i in test]


def test_books_of_the_test_pages_are_not_in_training(made):
    books = [{i.split("_")[0] for i in parse(made / f"{s}.csv")} for s in ("train", "test")]
    assert len(books[0]) == 3 and len(books[1]) == 2 and not books[0] & books[1]


def test_every_class_has_its_minimum_and_the_tail_is_long(made):
    count = counts(made)
    assert len(count) == 40 and min(count.values()) >= 6
    ranked = sorted(count.values())
    assert ranked[-1] >= 5 * ranked[0]
    assert np.mean(ranked) > 1.3 * np.median(ranked)


def test_the_guaranteed_copies_are_spread_over_the_books():
    pages = demo_text.deal([(0, 10), (1, 10)], list("あいうえおかきくけこ"), 2, np.random.default_rng(0))
    assert ["".join(sorted(p)) for p in pages] == ["あいうえおかきくけこ"] * 2


def test_the_guaranteed_copies_alone_can_fill_the_pages():
    pages = demo_text.deal([(0, 10), (1, 2)], list("あいう"), 4, np.random.default_rng(0))
    assert [len(p) for p in pages] == [10, 2]
    assert collections.Counter("".join(pages)) == {"あ": 4, "い": 4, "う": 4}


def test_drawings_have_no_labels_but_ink(made):
    empty = [i for i, boxes in parse(made / "train.csv").items() if not boxes]
    assert len(empty) == 1
    page = cv2.imread(str(made / "train_images" / f"{empty[0]}.jpg"), cv2.IMREAD_GRAYSCALE)
    middle = page[page.shape[0] // 6:-page.shape[0] // 12, page.shape[1] // 8:-page.shape[1] // 8]
    assert (middle < np.median(middle) - 50).mean() > 0.005


def clean(book, **layout):
    """The book without anything dark but the writing."""
    paper = dataclasses.replace(book.paper, stains=0.0, foxing=0.0, worms=0.0, shine=0.0, surround=False)
    return dataclasses.replace(book, paper=paper, hand=dataclasses.replace(book.hand, link=0.0),
                               layout=dataclasses.replace(book.layout, frame=0, rules=False, **layout))


def render_clean(book, text=None, seed=3):
    size = demo_render.room(book.layout, np.random.default_rng(seed))
    text = text or "".join(itertools.islice(itertools.cycle(demo_text.HIRAGANA + "花山御"), size))
    image, labelled, unread = demo_render.render(book, text, seed, seed + 1, left_leaf=True)
    assert "".join(box.char for box in labelled) == text  # reading order, all of it, nothing else
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int)
    return gray < cv2.medianBlur(gray.astype(np.uint8), 51).astype(int) - 35, labelled, unread


@pytest.mark.parametrize("number", range(4))
def test_boxes_hold_their_ink_tightly(number):
    dark, labelled, unread = render_clean(clean(make_book(2, number, 900), ruby=0.0))
    assert not unread
    height, width = dark.shape
    gaps, inside = [], np.zeros_like(dark)
    for box in labelled:
        assert 0 <= box.x and 0 <= box.y and box.w > 0 and box.h > 0
        assert box.x + box.w <= width and box.y + box.h <= height
        crop = dark[box.y:box.y + box.h, box.x:box.x + box.w]
        assert crop.mean() > 0.03, f"no ink in the box of {box.char}"
        rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
        gaps += [rows[0], columns[0], box.h - 1 - rows[-1], box.w - 1 - columns[-1]]
        inside[box.y:box.y + box.h, box.x:box.x + box.w] = True
    gaps = np.array(gaps)
    assert np.quantile(gaps, 0.95) <= demo_render.SLACK + 2 and np.median(gaps) <= demo_render.SLACK
    assert np.median(gaps) >= 1  # a slack is there: the ink does not stick out
    assert dark[~inside].sum() < 0.003 * dark.sum()


def test_boxes_on_a_finished_page_are_inside_it_and_dark(made):
    for split in ("train", "test"):
        for image_id, boxes in parse(made / f"{split}.csv").items():
            page = cv2.imread(str(made / f"{split}_images" / f"{image_id}.jpg"), cv2.IMREAD_GRAYSCALE)
            assert abs(page.shape[0] / 420 - 1) < 0.08
            for char, x, y, w, h in boxes:
                assert w > 0 and h > 0 and x + w <= page.shape[1] and y + h <= page.shape[0]
                crop = page[y:y + h, x:x + w]
                assert int(crop.max()) - int(crop.min()) > 50, f"{image_id}: {char} is faint"


def centred_in(box, others):
    x, y = box.x + box.w / 2, box.y + box.h / 2
    return any(o.x < x < o.x + o.w and o.y < y < o.y + o.h for o in others)


def cover(boxes, shape):
    inside = np.zeros(shape, bool)
    for box in boxes:
        inside[box.y:box.y + box.h, box.x:box.x + box.w] = True
    return inside


def test_ruby_is_drawn_not_labelled_and_its_places_are_told():
    book = make_book(2, 0, 900)
    outside = []
    for ruby in (0.0, 1.0):
        dark, labelled, unread = render_clean(clean(book, ruby=ruby))
        dark &= ~cover(labelled, dark.shape)
        outside.append(dark.sum())
    assert outside[1] > 1000 and outside[0] < outside[1] / 20
    assert len(unread) > len(labelled) / 5 and {u.kind for u in unread} == {"ruby"}
    assert sum(centred_in(u, labelled) for u in unread) < 0.01 * len(unread)
    assert (dark & cover(unread, dark.shape)).sum() > 0.93 * outside[1]  # the rest: its faint edges
    for u in unread:
        ink = dark[u.y:u.y + u.h, u.x:u.x + u.w] | cover(labelled, dark.shape)[u.y:u.y + u.h, u.x:u.x + u.w]
        assert ink.any() and u.w < 0.6 * book.layout.size and u.h < 0.6 * book.layout.size


@pytest.mark.parametrize("odd", range(2))
def test_shine_through_lies_in_its_boxes_and_is_mirrored(odd):
    book = make_book(2, 1, 900 + odd)
    layout = dataclasses.replace(book.layout, height=900 + odd, width=601 + odd)
    book = dataclasses.replace(book, layout=layout, paper=dataclasses.replace(book.paper, shine=0.8))
    sheet = np.full((layout.height, layout.width, 3), 200, np.float32)
    unread = demo_render._shine_through(np.random.default_rng(4), book, sheet)
    shade = 200 - sheet.mean(2)
    dark, inside = shade > 6, cover(unread, shade.shape)
    assert (dark & inside).sum() > 0.99 * dark.sum() and inside.mean() < 0.4
    assert (dark & inside[:, ::-1]).sum() < 0.8 * dark.sum()
    tight = []
    for u in unread:
        assert u.kind == "shine_through" and min(u.x, u.y) >= 0
        assert u.x + u.w <= layout.width and u.y + u.h <= layout.height
        here = shade[u.y:u.y + u.h, u.x:u.x + u.w]
        strong = here > 0.35 * here.max()
        assert here.max() > 1  # the patches without much of it, too
        tight += [np.flatnonzero(strong.any(1))[0], np.flatnonzero(strong.any(0))[0],
                  u.h - 1 - np.flatnonzero(strong.any(1))[-1], u.w - 1 - np.flatnonzero(strong.any(0))[-1]]
    assert np.mean(tight) < 1.5
    still = dataclasses.replace(book, paper=dataclasses.replace(book.paper, shine=0.1))
    assert demo_render._shine_through(np.random.default_rng(4), still, sheet) == []


def test_unread_writing_is_written_down(made):
    rows = 0
    for split in ("train", "test"):
        lines = (made / f"{split}_unread.csv").read_text(encoding="utf-8").split("\n")
        assert lines[0] == "image_id,kind,x,y,w,h" and lines[-1] == ""
        pages, kinds = parse(made / f"{split}.csv"), collections.defaultdict(set)
        for line in lines[1:-1]:
            image_id, kind, *box = line.split(",")
            x, y, w, h = map(int, box)
            kinds[image_id].add(kind)
            image = cv2.imread(str(made / f"{split}_images" / f"{image_id}.jpg"))
            assert 0 <= x < x + w <= image.shape[1] and 0 <= y < y + h <= image.shape[0]
        rows += len(lines) - 2
        for image_id, boxes in pages.items():
            book = make_book(5, int(image_id.split("_")[0]) - 900000001, 420)
            assert ("shine_through" in kinds[image_id]) == (book.paper.shine >= 0.2)
            assert ("ruby" in kinds[image_id]) == (book.layout.ruby > 0 and len(boxes) > 0)
    assert rows > 1000


def spread(hands, instances=6):
    """Mean difference, 0..1, between written 花 of different (hand, instance)."""
    rng, drawn = np.random.default_rng(0), []
    for hand in hands * instances:
        canvas = np.zeros((140, 140), np.uint8)
        ink = demo_brush.write("花", 80, hand, rng)
        y, x = 70 + ink.y, 70 + ink.x
        canvas[y:y + ink.mask.shape[0], x:x + ink.mask.shape[1]] = ink.mask
        drawn.append(cv2.GaussianBlur(canvas, (0, 0), 2).astype(float))
    return np.mean([np.abs(a - b).sum() / (a + b).sum() for a, b in itertools.combinations(drawn, 2)])


def test_instances_differ_and_hands_differ_more():
    one, two = make_book(1, 0, 900).hand, make_book(1, 1, 900).hand
    steady = dataclasses.replace(one, wobble=0.0)
    assert spread([one]) > 1.2 * spread([steady])
    assert spread([one, two], 3) > 1.2 * spread([one])
    seeds = [dataclasses.replace(steady, seed=seed) for seed in (1, 2, 3)]
    plain = [dataclasses.replace(hand, habit=0.0) for hand in seeds]
    assert spread(seeds, 2) > 1.2 * spread(plain, 2)


@pytest.mark.parametrize("char", "あのる花書口鬱ゝ")
def test_strokes_cover_the_printed_glyph_and_nothing_else(char):
    printed = demo_strokes.glyph(char) > 127
    width = 2 * np.median(cv2.distanceTransform(printed.astype(np.uint8), cv2.DIST_L2, 5)[printed]) * 2 + 1
    canvas = np.zeros(printed.shape, np.uint8)
    for path in demo_strokes.strokes(char):
        points = path * demo_strokes.EM + printed.shape[0] / 2
        demo_brush.draw_path(canvas, points, np.full(len(points), width / 2))
    drawn = canvas > 0
    assert (drawn & printed).sum() > 0.9 * printed.sum()
    assert (drawn & ~cv2.dilate(printed.astype(np.uint8), np.ones((9, 9))).astype(bool)).sum() < 0.02 * drawn.sum()


def test_characters_that_the_face_lacks_are_left_out():
    assert demo_text.choose_classes(["\u0378", "あ", "\U0010FFFD", " ", "い"], 2) == ["あ", "い"]
    chosen = demo_text.choose_classes(demo_text.frequency_order(), 5000)
    box = demo_strokes.glyph(demo_strokes.MISSING, 40)
    assert len(set(chosen)) == 5000
    assert not any(np.array_equal(demo_strokes.glyph(char, 40), box) for char in chosen)
    assert "ゟ" not in chosen  # a real character that it lacks


def test_the_frequent_classes_hold_no_twins():
    first = set(demo_text.frequency_order()[:400])
    twins = ("へヘ", "べベ", "りリ", "一ー", "口ロ", "力カ", "二ニ", "八ハ", "夕タ", "工エ", "卜ト", "千チ", "三ミ", "木ホ",
             "十ナ", "土士", "大犬", "人入", "天夫", "待侍", "未末", "玉王", "やゃ", "つっ", "せセ", "やヤ", "才オ", "又ヌ")
    assert [pair for pair in twins if set(pair) <= first] == []
    assert not set("ぁぃぅぇぉっゃゅょゎ") & first


def test_characters_of_the_users_own_table(tmp_path):
    table = tmp_path / "translation.csv"
    table.write_text("Unicode,char\nU+0378,?\nU+3042,あ\nU+306E,の\nU+9B31,鬱\n", encoding="utf-8")
    options = [*TINY, "--unicode_translation", str(table), "--out_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="--classes 5 is more than the 3 .* give at most 3"):
        demo_pages.main(options)
    demo_pages.main([*options, "--classes", "3"])
    assert set(counts(tmp_path / "out")) == set("あの鬱")
    table.write_text("code\nU+3042\n")
    with pytest.raises(SystemExit, match="no column 'Unicode'"):
        demo_pages.main([*options[:-1], str(tmp_path / "other")])


def test_impossible_sets_are_refused_with_the_remedy(tmp_path, capsys):
    out = ["--out_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"--classes 99999 is more than the \d{5} .* give at most \d{5}"):
        demo_pages.main([*TINY, *out, "--classes", "99999"])
    with pytest.raises(SystemExit, match="need 5000 places, the training pages have .* --train_pages"):
        demo_pages.main([*TINY, *out, "--min_count", "1000"])
    with pytest.raises(SystemExit, match="leave no room for 1 with only a drawing"):
        demo_pages.main([*TINY, *out, "--drawings", "0.5"])
    for wrong in (["--classes", "1"], ["--page_height", "100"], ["--drawings", "2"], ["--books", "2"]):
        with pytest.raises(SystemExit):
            demo_pages.main([*TINY, *out, *wrong])
        assert wrong[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_finished_folder_is_kept_and_others_refused(tmp_path, capsys):
    out = tmp_path / "out"
    options = [*TINY, "--out_dir", str(out)]
    demo_pages.main(options)
    assert "1 pages" in capsys.readouterr().out
    picture = next((out / "train_images").iterdir())
    written = picture.stat().st_mtime_ns
    demo_pages.main(options)
    assert "nothing to do" in capsys.readouterr().out and picture.stat().st_mtime_ns == written
    with pytest.raises(SystemExit, match=r"--seed 1 \(asked for: 9\).*--overwrite"):
        demo_pages.main([*options, "--seed", "9"])
    assert picture.stat().st_mtime_ns == written
    demo_pages.main([*options, "--seed", "9", "--overwrite"])
    assert picture.stat().st_mtime_ns != written
    picture.unlink()
    with pytest.raises(SystemExit, match="lost some of its files; give --overwrite"):
        demo_pages.main([*options, "--seed", "9"])
    demo_pages.main([*options, "--overwrite"])
    (out / "test_unread.csv").rename(out / "away")
    with pytest.raises(SystemExit, match="lost some of its files; give --overwrite"):
        demo_pages.main(options)
    (out / "away").rename(out / "test_unread.csv")
    marker = out / MARKER
    marker.write_text(marker.read_text().replace(f'"format": {demo_pages.FORMAT}', '"format": 1'))
    with pytest.raises(SystemExit, match=f"format 1 .now: {demo_pages.FORMAT}.; give --overwrite"):
        demo_pages.main(options)

    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "precious.txt").write_text("x")
    with pytest.raises(SystemExit, match="not a set of demo pages"):
        demo_pages.main([*TINY, "--out_dir", str(foreign), "--overwrite"])
    assert (foreign / "precious.txt").exists()


def test_an_interrupted_run_leaves_no_half_set(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo_pages, "_write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            demo_pages.main([*TINY, "--out_dir", str(out)])
    assert not out.exists() and (tmp_path / "out.partial").exists()
    demo_pages.main([*TINY, "--out_dir", str(out)])
    assert "did not finish" in capsys.readouterr().out
    assert out.exists() and not (tmp_path / "out.partial").exists()


def test_help_needs_no_heavy_module():
    code = "import sys, records.demo_pages; print({'cv2', 'numpy', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
