"""Renders artworks in the layout of the iMet Collection 2019: a set of several labels an image, without
a download.

    python -m records.demo_artworks --out_dir data/demo_imet/imet

OUT/train/ID.png, test/ID.png  the pictures
OUT/labels.csv                 attribute_id,attribute_name: culture::... (a style), tag::... (a thing)
OUT/train.csv                  id,attribute_ids: as an annotator left them, incomplete and some of them wrong
OUT/sample_submission.csv      id,attribute_ids
OUT/train_truth.csv            id,attribute_ids,is_wrong: the truth; 1 where train.csv has another's labels
OUT/test_truth.csv             id,attribute_ids
OUT/places.csv                 id,attribute_id,x,y,w,h: px, where each thing was drawn
OUT/demo.json                  the options that made it

Every picture is a pure function of (seed, its number, the size), whatever the number of workers; so is what
an annotator missed, and, with the number of training images, whose labels he confused.
"""
import hashlib
import os
from typing import NamedTuple

from arguments import Parser, number
from records.demo_folder import add_run_options, identity_of, make_set, rendered, write_csv

FORMAT = 2            # of the folder; raise it when the same options make other files
FIRST_TEST = 1 << 20  # number of the first test image
FINE = 2              # rendered at this many times the size of the picture
GOLDEN = 0.618        # step of the hues from thing to thing: those of few steps lie far apart
CHUNK = 25            # images of a worker's job
TABLES = ("labels.csv", "train.csv", "sample_submission.csv", "train_truth.csv", "test_truth.csv", "places.csv")
CULTURES_SHOWN = (0.06, 0.84, 0.10)                           # share of images that show 0, 1, 2
TAGS_SHOWN = (0.06, 0.18, 0.26, 0.22, 0.14, 0.09, 0.05)       # 0 to 6
FAVOURED = 6          # times as often
LONG_SHARE = 0.03     # of images that are many times as long as wide


class Shown(NamedTuple):
    """What an image shows: indices into STYLES, and into the list of TAGS in their order."""
    cultures: list
    tags: list


def parse_options(argv):
    parser = Parser(
        prog="python -m records.demo_artworks",
        description="Renders artworks, each of some culture's style with some things on it, in the layout of "
                    "the iMet Collection 2019.", usage="python -m records.demo_artworks [options]")
    what = parser.add_argument_group("what to render")
    what.add_argument("--train_images", type=number(int, 2, FIRST_TEST), default=3000, help="in train.csv")
    what.add_argument("--test_images", type=number(int, 0, FIRST_TEST), default=300, help="in test/")
    what.add_argument("--size", type=number(int, 48, 2048), default=128,
                      help="about the longer side of a picture, px; of a few, a fifth to a quarter of it")
    what.add_argument("--missing_rate", type=number(float, 0, 1), default=0.1,
                      help="share of the true labels that train.csv lacks")
    what.add_argument("--wrong_rate", type=number(float, 0, 1), default=0.03,
                      help="share of the training images that have another image's labels in train.csv")
    what.add_argument("--seed", type=number(int, 0), default=1, help="other seeds give other pictures")
    add_run_options(parser, "data/demo_imet/imet", "artworks")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse_options(argv)
    make_set("artworks", options, lambda: identity_of("artworks", FORMAT, options),
             lambda folder: _is_whole(folder, options), lambda folder: _render_set(options, folder))


def _render_set(options, folder):
    numbers = {"train": range(options.train_images),
               "test": range(FIRST_TEST, FIRST_TEST + options.test_images)}
    ids = {n: image_id(options.seed, n) for part in numbers.values() for n in part}
    if len(set(ids.values())) < len(ids):
        raise ValueError(f"--seed {options.seed} gives two images the same id: give another")
    places = []
    for part, those in numbers.items():
        (folder / part).mkdir()
        places += _render_all(options, those, folder / part)
    _write_tables(folder, options, numbers, ids, places)
    return f"{options.train_images} training and {options.test_images} test images"


def _is_whole(folder, options):
    return all((folder / table).is_file() for table in TABLES) and all(
        len(list((folder / part).glob("*.png"))) == count
        for part, count in (("train", options.train_images), ("test", options.test_images)))


def image_id(seed, number_):
    """16 hexadecimal digits, as the competition's ids."""
    return hashlib.sha256(f"artwork {seed} {number_}".encode()).hexdigest()[:16]


def label_names():
    """Names in the order of attribute_id: cultures, then tags, each by the alphabet."""
    from records.demo_styles import STYLES
    from records.demo_tags import TAGS
    return [*sorted(f"culture::{style.name}" for style in STYLES), *sorted(f"tag::{name}" for name in TAGS)]


def attributes(shown):
    """Ascending attribute numbers of what an image shows."""
    from records.demo_styles import STYLES
    from records.demo_tags import TAGS
    number_of, tags = {name: place for place, name in enumerate(label_names())}, list(TAGS)
    return sorted([number_of[f"culture::{STYLES[i].name}"] for i in shown.cultures] +
                  [number_of[f"tag::{tags[i]}"] for i in shown.tags])


def draw_shown(seed, number_):
    """The Shown of an image: some of both kinds, the n-th most frequent with a weight of 1 / (n + 3).

    Each culture shows a fifth of the things FAVOURED times as often as others do, so that labels tell of
    each other.
    """
    import numpy as np
    from records.demo_styles import STYLES
    from records.demo_tags import TAGS
    rng = np.random.default_rng([seed, 0, number_])

    def some(shares, count, favoured=1):
        weights = favoured / (np.arange(count) + 3)
        shown = rng.choice(len(shares), p=shares)
        return rng.choice(count, shown, replace=False, p=weights / weights.sum()).tolist()
    cultures = some(CULTURES_SHOWN, len(STYLES))
    favoured = np.ones(len(TAGS))
    for culture in cultures:
        favoured[(7 * np.arange(len(TAGS)) + 3 * culture) % 20 < 4] = FAVOURED
    return Shown(cultures, some(TAGS_SHOWN, len(TAGS), favoured))


def noticed(options, number_):
    """Attribute numbers that an annotator of the image wrote down: the true ones without those missed."""
    import numpy as np
    rng = np.random.default_rng([options.seed, 2, number_])
    return [label for label in attributes(draw_shown(options.seed, number_))
            if rng.random() >= options.missing_rate]


def annotated(options, number_):
    """(attribute numbers as train.csv has them, whether they are another image's)."""
    import numpy as np
    rng = np.random.default_rng([options.seed, 3, number_])
    if rng.random() >= options.wrong_rate:
        return noticed(options, number_), False
    truth = attributes(draw_shown(options.seed, number_))
    for _ in range(100):  # until it is another image, and one that shows something else
        labels = noticed(options, int(rng.integers(options.train_images)))
        if not set(labels) <= set(truth):
            return labels, True
    return noticed(options, number_), False


def draw_picture(seed, number_, size):
    """(uint8 [h, w, 3] BGR, Shown, [(tag index, x, y, w, h)] px), all of it from seed and number."""
    import cv2
    import numpy as np
    from records.demo_styles import STYLES, draw_style
    from records.demo_tags import TAGS, Pen

    shown = draw_shown(seed, number_)
    rng = np.random.default_rng([seed, 1, number_])
    long_ = rng.random() < LONG_SHARE
    longer = size * (rng.uniform(4, 5.5) if long_ else rng.uniform(0.8, 1.1))
    shorter = size * rng.uniform(0.4, 0.55) if long_ else longer * rng.uniform(0.6, 1)
    sides = [round(longer), round(shorter)]
    width, height = sides if rng.random() < 0.5 else sides[::-1]
    styles = [STYLES[i] for i in shown.cultures] or [None]
    ends = np.round(np.linspace(0, max(width, height), len(styles) + 1)).astype(int) * FINE
    panels = [draw_style(rng, style, *((height * FINE, stop - start) if width > height else
                                       (stop - start, width * FINE)))
              for style, start, stop in zip(styles, ends, ends[1:])]  # two cultures: a panel each
    picture = np.ascontiguousarray(np.concatenate(panels, axis=1 if width > height else 0))
    places, boxes = [], []
    side = min(longer, 1.6 * shorter) * FINE  # of which a thing takes 16% and more
    most = 0.4 if len(shown.tags) <= 3 else 0.28
    for tag in shown.tags:
        half = side * rng.uniform(0.18, most) / 2
        centre = _free_place(rng, boxes, half, width * FINE, height * FINE)
        boxes.append((*centre, half))
        pen = Pen(picture, centre, half * 0.92, rng.uniform(-0.4, 0.4), *_colours(rng, tag, picture, centre, half))
        list(TAGS.values())[tag](pen)
        x0, y0, x1, y1 = (np.array(pen.box()) / FINE).tolist()
        x0, y0 = max(0, int(x0 - 0.5)), max(0, int(y0 - 0.5))  # smoothed edges reach so far
        places.append((tag, x0, y0, min(width, int(x1 + 1.5)) - x0, min(height, int(y1 + 1.5)) - y0))
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    picture += rng.uniform(1, 4) * rng.standard_normal(picture.shape)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), shown, places


def _free_place(rng, boxes, half, width, height):
    """x, y, px, where a square of half side `half` overlaps the boxes, (x, y, half), least, of 30 tries."""
    best, least = None, None
    for _ in range(30):
        x, y = (float(rng.uniform(min(half, side / 2), max(side - half, side / 2))) for side in (width, height))
        overlap = max((h + half - max(abs(x - u), abs(y - v)) for u, v, h in boxes), default=0)
        if least is None or overlap < least:
            best, least = (x, y), overlap
        if least <= 0:
            break
    return best


def _colours(rng, tag, picture, centre, half):
    """A thing's two colours and its outline's, BGR 0..255, that stand out from what is there; the hues are
    about the same for all things of a kind, so that small networks learn them from few pictures."""
    import cv2
    import numpy as np
    x, y = (int(v) for v in centre)
    reach = max(2, int(half * 0.7))
    around = picture[max(0, y - reach):y + reach, max(0, x - reach):x + reach].mean((0, 1))
    dark = float(around @ (0.114, 0.587, 0.299)) < 120
    hue, apart, full, other_full, bright, outline = rng.random(6)  # as many, whatever is there
    hue, apart = 180 * GOLDEN * tag + 8 * hue, 40 + 100 * GOLDEN * (tag // 5) % 100 + 8 * apart  # of 180
    hsv = np.array([[[hue % 180, 170 + 80 * full, 215 + 40 * bright if dark else 95 + 105 * bright],
                     [(hue + apart) % 180, 170 + 80 * other_full, 240]]]).astype(np.uint8)
    colour, other = (tuple(map(float, c)) for c in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0])
    return colour, other, (20.0, 15.0, 15.0) if not dark or outline < 0.3 else (250.0, 250.0, 250.0)


def _render_all(options, numbers, folder):
    """Renders those images into the folder; returns the rows of places.csv, in their order."""
    from tqdm import tqdm

    jobs = [(options.seed, list(numbers[i:i + CHUNK]), options.size, str(folder))
            for i in range(0, len(numbers), CHUNK)]
    rows = []
    with tqdm(total=len(numbers), desc=f"rendering {folder.name}", unit=" images") as progress:
        for job, places in zip(jobs, rendered(_render_images, jobs, options.workers)):
            rows += places
            progress.update(len(job[1]))
    return rows


def _render_images(job):
    """Renders and stores some images; returns their rows of places.csv."""
    import cv2

    seed, numbers, size, folder = job
    cv2.setNumThreads(1)  # the jobs already keep every core busy
    rows = []
    for number_ in numbers:
        picture, _, places = draw_picture(seed, number_, size)
        name = image_id(seed, number_)
        path = os.path.join(folder, f"{name}.png")
        if not cv2.imwrite(path, picture):
            raise OSError(f"could not write {path}")
        rows += [(name, *attributes(Shown([], [tag])), *box) for tag, *box in places]
    return rows


def _write_tables(folder, options, numbers, ids, places):
    """The CSVs, each sorted by id, which shuffles it."""
    spaced = lambda labels: " ".join(map(str, labels))
    order = {part: sorted(those, key=ids.get) for part, those in numbers.items()}
    truth = {n: spaced(attributes(draw_shown(options.seed, n))) for n in ids}
    written = {n: annotated(options, n) for n in numbers["train"]}
    write_csv(folder / "labels.csv", ("attribute_id", "attribute_name"), enumerate(label_names()))
    write_csv(folder / "train.csv", ("id", "attribute_ids"),
              [(ids[n], spaced(written[n][0])) for n in order["train"]])
    write_csv(folder / "train_truth.csv", ("id", "attribute_ids", "is_wrong"),
              [(ids[n], truth[n], int(written[n][1])) for n in order["train"]])
    write_csv(folder / "sample_submission.csv", ("id", "attribute_ids"),
              [(ids[n], "0 1 2") for n in order["test"]])
    write_csv(folder / "test_truth.csv", ("id", "attribute_ids"), [(ids[n], truth[n]) for n in order["test"]])
    write_csv(folder / "places.csv", ("id", "attribute_id", *"xywh"), sorted(places))


if __name__ == "__main__":
    main()
