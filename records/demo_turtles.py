"""Renders photographs of turtles in the layout of the Turtle Recall competition: a set without a download.

    python -m records.demo_turtles --out_dir data/demo_turtles/turtles

OUT/images/ID.JPG          the photographs
OUT/train.csv              image_id,image_location,turtle_id: of the known individuals
OUT/extra_images.csv       image_id,turtle_id: a few more of them, and all of further individuals
OUT/test.csv               image_id,image_location
OUT/test_truth.csv         image_id,turtle_id: new_turtle for an individual that is in neither of the two
OUT/sample_submission.csv  image_id,prediction1..prediction5: a row per test photograph
OUT/demo.json              the options that made it

An individual is its shell (records.demo_shell); pose, ground and light are each photograph's own
(records.demo_photograph). Every photograph is a pure function of (seed, individual, its number among
those of the individual, the size), whatever the number of workers.
"""
import csv
import hashlib
import os
from typing import NamedTuple

from arguments import Parser, number
from records.demo_folder import add_run_options, identity_of, make_set, rendered, write_csv

TRAIN, EXTRA, TEST, IMAGES = "train.csv", "extra_images.csv", "test.csv", "images"
NEW = "new_turtle"    # who is in neither of the first two
FORMAT = 1            # of the folder; raise it when the same options make other files
JPEG_QUALITY = 92
TO_EXTRA = 4          # of a known individual's photographs, each so-manieth stands in extra_images.csv
PREDICTIONS = 5       # of a submission, per photograph
TABLES = (TRAIN, EXTRA, TEST, "test_truth.csv", "sample_submission.csv")


class Photograph(NamedTuple):
    """number: among those of its individual, from 0. table: train.csv, extra_images.csv or test.csv."""
    individual: int
    number: int
    image_id: str
    table: str


def parse_options(argv):
    parser = Parser(
        prog="python -m records.demo_turtles",
        description="Renders photographs of turtles, told apart by their shells, in the layout of the "
                    "Turtle Recall competition.", usage="python -m records.demo_turtles [options]")
    size = parser.add_argument_group("what to render")
    size.add_argument("--known", type=number(int, PREDICTIONS - 1), default=60,
                      help="individuals of train.csv")
    size.add_argument("--others", type=number(int, 0), default=140,
                      help="further individuals, of extra_images.csv only")
    size.add_argument("--photographs", type=number(int, 1, 1000), default=7,
                      help="about how many most individuals have, one less to two more; three of ten "
                           "have fewer, down to one")
    size.add_argument("--test_photographs", type=number(int, 0), default=150,
                      help="in test.csv, of known individuals and of new ones")
    size.add_argument("--new_share", type=number(float, 0, 1), default=0.3,
                      help="share of the test photographs that show an individual of neither table")
    size.add_argument("--size", type=number(int, 32, 2048), default=128,
                      help="side of the square photographs, px")
    size.add_argument("--seed", type=number(int, 0), default=1, help="other seeds give other turtles")
    add_run_options(parser, "data/demo_turtles/turtles", "turtles")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse_options(argv)
    make_set("turtles", options, lambda: identity_of("turtles", FORMAT, options), _is_whole,
             lambda folder: _render_set(options, folder))


def _render_set(options, folder):
    photographs = plan(options)
    (folder / IMAGES).mkdir()
    _write_tables(folder, options, photographs, _render_all(options, photographs, folder))
    return (f"{len(photographs)} photographs, {sum(p.table == TEST for p in photographs)} of them for the test, of "
            f"{len({p.individual for p in photographs})} turtles")


def _is_whole(folder):
    for table in TABLES:
        if not (folder / table).is_file():
            return False
        with open(folder / table, newline="", encoding="utf-8") as file:
            if not all((folder / IMAGES / f"{row['image_id']}.JPG").is_file() for row in csv.DictReader(file)):
                return False
    return True


def turtle_id(seed, individual):
    return "t_id_" + _name(f"turtle {seed} {individual}")


def plan(options):
    """Every Photograph, by individual and number: the known ones', the others', those new in the test."""
    import numpy as np
    photographs = []

    def add(individual, number, table):
        image_id = "ID_" + _name(f"image {options.seed} {individual} {number}").upper()
        photographs.append(Photograph(individual, number, image_id, table))
    counts = {}
    for individual in range(options.known + options.others):
        counts[individual] = _count(options.seed, individual, options.photographs)
        for number_ in range(counts[individual]):
            extra = individual >= options.known or number_ % TO_EXTRA == TO_EXTRA - 1
            add(individual, number_, EXTRA if extra else TRAIN)
    new = round(options.new_share * options.test_photographs)
    turn = np.random.default_rng([options.seed, 2]).permutation(options.known).tolist()
    for place in range(options.test_photographs - new):
        individual = turn[place % len(turn)]
        add(individual, counts[individual] + place // len(turn), TEST)
    individual = options.known + options.others
    while new:
        shown = min(new, 1 + individual % 3)
        for number_ in range(shown):
            add(individual, number_, TEST)
        individual, new = individual + 1, new - shown
    if len({p.image_id for p in photographs}) < len(photographs):
        raise ValueError(f"--seed {options.seed} gives two photographs the same id: give another")
    return sorted(photographs)


def _name(text):
    """Eight letters and digits that tell nothing."""
    value, letters = int(hashlib.sha256(text.encode()).hexdigest(), 16), ""
    for _ in range(8):
        value, digit = divmod(value, 36)
        letters += "0123456789abcdefghijklmnopqrstuvwxyz"[digit]
    return letters


def _count(seed, individual, usual):
    """Photographs of an individual outside the test."""
    import numpy as np
    rng = np.random.default_rng([seed, 3, individual])
    few = rng.random() < 0.3
    return int(rng.integers(1, max(2, usual - 1)) if few else max(1, usual + rng.integers(-1, 3)))


def _render_all(options, photographs, folder):
    """Renders the photographs into the folder, several turtles at a time: {image_id: image_location}."""
    from tqdm import tqdm

    by_turtle = {}
    for photograph in photographs:
        by_turtle.setdefault(photograph.individual, []).append(photograph)
    jobs = [(turtle, options.seed, options.size, str(folder / IMAGES)) for turtle in by_turtle.values()]
    locations = {}
    with tqdm(total=len(photographs), desc="rendering", unit=" photographs") as progress:
        for told in rendered(_render_turtle, jobs, options.workers):
            locations |= told
            progress.update(len(told))
    return locations


def _render_turtle(job):
    """Renders and stores all photographs of one individual; returns {image_id: image_location}."""
    import cv2
    import numpy as np
    from records.demo_photograph import LOCATIONS, photograph
    from records.demo_shell import make_shell

    shown, seed, size, folder = job
    cv2.setNumThreads(1)  # the turtles already keep every core busy
    shell, locations = make_shell(seed, shown[0].individual), {}
    for one in shown:
        rng = np.random.default_rng([seed, 1, one.individual, one.number])
        locations[one.image_id] = location = LOCATIONS[rng.integers(len(LOCATIONS))]
        path = os.path.join(folder, f"{one.image_id}.JPG")
        if not cv2.imwrite(path, photograph(shell, rng, location, size), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"could not write {path}")
    return locations


def _write_tables(folder, options, photographs, locations):
    """The five CSVs, each sorted by image_id, which shuffles it."""
    name = lambda p: turtle_id(options.seed, p.individual)
    table = {t: sorted((p for p in photographs if p.table == t), key=lambda p: p.image_id)
             for t in (TRAIN, EXTRA, TEST)}
    write_csv(folder / TRAIN, ("image_id", "image_location", "turtle_id"),
              [(p.image_id, locations[p.image_id], name(p)) for p in table[TRAIN]])
    write_csv(folder / EXTRA, ("image_id", "turtle_id"), [(p.image_id, name(p)) for p in table[EXTRA]])
    write_csv(folder / TEST, ("image_id", "image_location"),
              [(p.image_id, locations[p.image_id]) for p in table[TEST]])
    write_csv(folder / "test_truth.csv", ("image_id", "turtle_id"),
              [(p.image_id, name(p) if p.individual < options.known else NEW) for p in table[TEST]])
    guesses = [NEW, *sorted(turtle_id(options.seed, i) for i in range(options.known))[:PREDICTIONS - 1]]
    write_csv(folder / "sample_submission.csv",
              ("image_id", *(f"prediction{i + 1}" for i in range(PREDICTIONS))),
              [(p.image_id, *guesses) for p in table[TEST]])


if __name__ == "__main__":
    main()
