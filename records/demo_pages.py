"""Renders demo pages in the layout of Kaggle's Kuzushiji Recognition: a set without a download.

    python -m records.demo_pages --out_dir data/demo

OUT/train.csv, OUT/test.csv        image_id,labels (labels: `U+XXXX x y w h` … in px, empty for a drawing)
OUT/train_images, OUT/test_images  IMAGE_ID.jpg; an image id is BOOK_LEAF_SIDE, and no book is in both
OUT/train_unread.csv, OUT/test_unread.csv  image_id,kind,x,y,w,h: writing that must not be read
OUT/unicode_translation.csv        Unicode,char: the classes
OUT/sample_submission.csv          image_id,labels: a row per test page
OUT/demo.json                      the options that made it

The unread writing is `ruby`, the small kana between the columns, and `shine_through`, the mirrored
writing of the other side: a row for each character, its box in px round what is visible of it where
nothing covers it, clipped to the page. A page without any has no row.

Every page is a pure function of (seed, its number, the options), whatever the number of workers.
"""
import csv
import hashlib
import multiprocessing
import os
import pathlib
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from arguments import Parser, number
from records.demo_folder import add_run_options, make_set, write_csv

FORMAT = 2            # of the folder; raise it when the same options make other files
SAMPLE_LABELS = "U+003F 1 1 U+FF2F 2 2"
JPEG_QUALITY = 92
MIN_PAGE_HEIGHT = 320  # px; below, strokes are thinner than a pixel


class Page(NamedTuple):
    """One page to render: number counts all pages of the set; text None = only a drawing."""
    number: int
    image_id: str
    book: int
    left_leaf: bool
    split: str
    text: str | None


def parse_options(argv):
    parser = Parser(
        prog="python -m records.demo_pages",
        description="Renders demo pages of cursive Japanese in the layout of Kaggle's Kuzushiji "
                    "Recognition.", usage="python -m records.demo_pages [options]")
    size = parser.add_argument_group("what to render")
    size.add_argument("--train_pages", type=number(int, 1), default=24, help="training pages")
    size.add_argument("--test_pages", type=number(int, 0), default=6, help="test pages")
    size.add_argument("--books", type=number(int, 1), default=4,
                      help="books that the training pages come from, the validation book among them")
    size.add_argument("--test_books", type=number(int, 0), default=2,
                      help="further books, of the test pages only")
    size.add_argument("--classes", type=number(int, 2), default=80,
                      help="different characters, the most frequent first")
    size.add_argument("--min_count", type=number(int, 1),
                      help="times that each class occurs on the training pages at least (default: "
                           "12, or what half of their room allows if that is less)")
    size.add_argument("--drawings", type=number(float, 0, 1), default=0.05,
                      help="share of pages with only a drawing; above 0, one training page at least")
    size.add_argument("--page_height", type=number(int, MIN_PAGE_HEIGHT), default=1600,
                      help="height of a page in px; books vary around it")
    size.add_argument("--unicode_translation", type=pathlib.Path,
                      help="CSV with the columns Unicode,char to take the characters from (the "
                           "competition's file; default: a built-in list)")
    size.add_argument("--seed", type=number(int, 0), default=1, help="other seeds give other books")
    add_run_options(parser, "data/demo", "pages")
    options = parser.parse_args(argv)
    for pages, books in (("train_pages", "books"), ("test_pages", "test_books")):
        if 0 < getattr(options, pages) < getattr(options, books):
            parser.error(f"--{pages} {getattr(options, pages)} leaves some of the --{books} "
                         f"{getattr(options, books)} without a page; give at least as many pages as books")
    if options.test_pages and not options.test_books:
        parser.error(f"--test_pages {options.test_pages} need books of their own; give --test_books 1 or more")
    return options


def main(argv=None):
    options = parse_options(argv)
    make_set("pages", options, lambda: _identity(options), _has_its_pages, lambda folder: _render_set(options, folder),
             lambda: _need_opencv_5(options))


def _render_set(options, folder):
    classes, pages = plan(options)
    for split in ("train", "test"):
        (folder / f"{split}_images").mkdir()
    labels, unread = _render_all(options, pages, folder)
    _write_tables(folder, classes, pages, labels, unread)
    characters = sum(len(page.text or "") for page in pages)
    return f"{len(pages)} pages, {characters:,} characters of {len(classes)} classes"


def _need_opencv_5(options):
    import cv2
    if not hasattr(cv2, "FontFace"):  # the typeface that the characters are traced from
        raise ValueError(f"rendering demo pages needs OpenCV 5, and this is {cv2.__version__}: render them "
                         "in the environment of requirements.txt (.venv/bin/python -m records.demo_pages "
                         f"--out_dir={options.out_dir}); what is rendered is read in any")


def _identity(options):
    """All that decides what the pages look like, for demo.json."""
    chosen = {name: value for name, value in vars(options).items()
              if name not in ("out_dir", "workers", "overwrite")}
    table = options.unicode_translation
    if table is not None:
        if not table.is_file():
            raise ValueError(f"--unicode_translation {table}: no such file")
        chosen["unicode_translation"] = "sha256 " + hashlib.sha256(table.read_bytes()).hexdigest()
    return {"format": FORMAT, "options": chosen}


def _has_its_pages(folder):
    for split in ("train", "test"):
        if not all((folder / f"{split}{table}.csv").is_file() for table in ("", "_unread")):
            return False
        with open(folder / f"{split}.csv", newline="", encoding="utf-8") as file:
            if not all((folder / f"{split}_images" / f"{row['image_id']}.jpg").is_file()
                       for row in csv.DictReader(file)):
                return False
    return True


def plan(options):
    """The classes, the most frequent first, and every page with its text: (list of str, list of Page)."""
    import numpy as np
    from records import demo_text
    from records.demo_book import make_book
    from records.demo_render import room

    table = options.unicode_translation
    characters = demo_text.read_translation(table) if table else demo_text.frequency_order()
    classes = demo_text.choose_classes(characters, options.classes)
    rng = np.random.default_rng([options.seed, 0])
    at_least_one = 1 if options.drawings > 0 else 0
    pages = []
    for split, first_book, books, count, drawings in (
            ("train", 0, options.books, options.train_pages,
             max(at_least_one, round(options.drawings * options.train_pages))),
            ("test", options.books, options.test_books, options.test_pages,
             round(options.drawings * options.test_pages))):
        if drawings and drawings > count - books:
            raise ValueError(f"{count} {split} pages of {books} books leave no room for {drawings} with only a "
                             f"drawing: each book needs a page of text; raise --{split}_pages, or lower --drawings")
        book_of = sorted(first_book + i % books for i in range(count))
        leaf_of = [i - book_of.index(book) for i, book in enumerate(book_of)]  # each book from 0
        drawn = set(rng.choice([i for i in range(count) if leaf_of[i]], drawings, replace=False).tolist()
                    if drawings else ())
        layouts = {book: make_book(options.seed, book, options.page_height) for book in set(book_of)}
        rooms = [(book, 0 if i in drawn else room(layouts[book].layout, _layout_rng(options, len(pages) + i)))
                 for i, book in enumerate(book_of)]
        if split == "train":
            min_count = options.min_count or demo_text.default_min_count(sum(n for _, n in rooms), len(classes))
        texts = demo_text.deal(rooms, classes, min_count if split == "train" else 0, rng)
        first = len(pages)
        for i, (book, text) in enumerate(zip(book_of, texts)):
            leaf, side = divmod(leaf_of[i], 2)
            pages.append(Page(first + i, f"{layouts[book].title}_{leaf + 2:05d}_{side + 1}", book, side == 1,
                              split, None if i in drawn else text))
    return classes, pages


def _layout_rng(options, number):
    import numpy as np
    return np.random.default_rng([options.seed, 2, number])


def _render_all(options, pages, folder):
    """Render the pages into the folder, several at a time: the labels, and the unread writing, of
    each by its image id."""
    from tqdm import tqdm

    workers = min(options.workers, len(pages))
    jobs = [(page, options.seed, options.page_height, str(folder)) for page in pages]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        done = tqdm(pool.map(_render_page, jobs), total=len(jobs), desc="rendering", unit="page")
        ids, labels, unread = zip(*done)
        return dict(zip(ids, labels)), dict(zip(ids, unread))


def _render_page(job):
    """Render and store one page; returns its image id, its labels as Kaggle writes them, and rows
    (kind, x, y, w, h) of its unread writing."""
    import cv2
    from records.demo_book import make_book
    from records.demo_render import render
    from records.demo_text import to_label

    page, seed, page_height, folder = job
    cv2.setNumThreads(1)  # the pages already keep every core busy
    image, labelled, unread = render(make_book(seed, page.book, page_height), page.text,
                                     [seed, 2, page.number], [seed, 3, page.number], page.left_leaf)
    path = os.path.join(folder, f"{page.split}_images", f"{page.image_id}.jpg")
    if not cv2.imwrite(path, image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"could not write {path}")
    labels = " ".join(f"{to_label(c.char)} {c.x} {c.y} {c.w} {c.h}" for c in labelled)
    return page.image_id, labels, [tuple(u) for u in unread]


def _write_tables(folder, classes, pages, labels, unread):
    from records.demo_text import to_label

    for split in ("train", "test"):
        write_csv(folder / f"{split}.csv", ("image_id", "labels"),
                  [(page.image_id, labels[page.image_id]) for page in pages if page.split == split])
        write_csv(folder / f"{split}_unread.csv", ("image_id", "kind", "x", "y", "w", "h"),
                  [(page.image_id, *row) for page in pages if page.split == split
                   for row in unread[page.image_id]])
    write_csv(folder / "sample_submission.csv", ("image_id", "labels"),
              [(page.image_id, SAMPLE_LABELS) for page in pages if page.split == "test"])
    write_csv(folder / "unicode_translation.csv", ("Unicode", "char"),
              [(to_label(char), char) for char in sorted(classes)])


if __name__ == "__main__":
    main()
