"""Renders products with several pictures, in the layout of Cdiscount's competition: a set without a download.

    python -m records.demo_products --out_dir data/demo_products

OUT/train.bson             documents {_id, category_id, imgs: [{picture: JPEG}, ...]}, 1 to 4 pictures of each
OUT/test.bson              the same without category_id
OUT/category_names.csv     category_id,category_level1,category_level2,category_level3
OUT/sample_submission.csv  _id,category_id: a row per product of the test
OUT/test_truth.csv         _id,category_id,part: words, where only the words on covers tell, or things
OUT/demo.json              the options that made it

A product's pictures are a pure function of (seed, its category, its number in that, the size), whatever the
number of workers and products. Some of train.bson have another's category, some a picture that shows nothing.
"""

from arguments import Parser, number
from records.demo_folder import add_run_options, identity_of, make_set, rendered, write_csv

FORMAT = 1                          # of the folder; raise it when the same options make other files
JPEG_QUALITY = 88
PICTURES = (0.4, 0.25, 0.15, 0.2)   # share of products that have 1, 2, 3, 4
PER_JOB = 40                        # products
FILES = ("train.bson", "test.bson", "category_names.csv", "sample_submission.csv", "test_truth.csv")
TRAIN, TEST = 0, 1


def parse_options(argv):
    parser = Parser(
        prog="python -m records.demo_products",
        description="Renders products with one to four pictures each, of categories on three levels, in the "
                    "layout of Cdiscount's competition.", usage="python -m records.demo_products [options]")
    what = parser.add_argument_group("what to render")
    what.add_argument("--level1", type=number(int, 2, 12), default=12,
                      help="categories of the first level; a third of them are covers (books, music, ...)")
    what.add_argument("--level2", type=number(int, 1, 5), default=5, help="categories in each of these")
    what.add_argument("--level3", type=number(int, 1, 5), default=5, help="categories in each of those")
    what.add_argument("--products", type=number(int, 1, 100_000), default=14, help="per category in train.bson")
    what.add_argument("--test_products", type=number(int, 0, 100_000), default=4, help="per category in test.bson")
    what.add_argument("--wrong_rate", type=number(float, 0, 1), default=0.03,
                      help="share of the products of train.bson with another's category")
    what.add_argument("--junk_rate", type=number(float, 0, 1), default=0.03,
                      help="share of the products of train.bson of which a picture shows nothing")
    what.add_argument("--size", type=number(int, 32, 1024), default=180, help="side of the pictures, px")
    what.add_argument("--seed", type=number(int, 0), default=1, help="other seeds give other products")
    add_run_options(parser, "data/demo_products", "products")
    return parser.parse_args(argv)


def main(argv=None):
    from records.demo_words import need_typeface
    options = parse_options(argv)
    make_set("products", options, lambda: identity_of("products", FORMAT, options),
             lambda folder: all((folder / name).is_file() for name in FILES),
             lambda folder: _render_set(options, folder), need_typeface)


def _render_set(options, folder):
    import numpy as np
    from records.demo_catalogue import catalogue

    categories = catalogue(options.level1, options.level2, options.level3, options.seed)
    order = {part: np.random.default_rng([options.seed, 4, part]).permutation(len(categories) * each).tolist()
             for part, each in ((TRAIN, options.products), (TEST, options.test_products))}
    pictures = [_write(folder / name, options, categories, part, order[part])
                for part, name in ((TRAIN, "train.bson"), (TEST, "test.bson"))]
    write_csv(folder / "category_names.csv", ("category_id", "category_level1", "category_level2", "category_level3"),
              sorted((c.category_id, *c.names) for c in categories))
    ids = range(len(order[TRAIN]) + 1, len(order[TRAIN]) + len(order[TEST]) + 1)
    shown = [categories[place % len(categories)] for place in order[TEST]]
    write_csv(folder / "sample_submission.csv", ("_id", "category_id"),
              [(i, min(c.category_id for c in categories)) for i in ids])
    write_csv(folder / "test_truth.csv", ("_id", "category_id", "part"),
              [(i, c.category_id, "words" if c.words else "things") for i, c in zip(ids, shown)])
    return (f"{len(order[TRAIN])} products for training with {pictures[0]} pictures, {len(order[TEST])} for the test "
            f"with {pictures[1]}, of {len(categories)} categories")


def _write(path, options, categories, part, order):
    """Renders the products of a part into a BSON file; returns the number of pictures."""
    from tqdm import tqdm
    first = 1 if part == TRAIN else len(categories) * options.products + 1
    products, total = list(enumerate(order, first)), 0
    jobs = [(options, part, products[i:i + PER_JOB]) for i in range(0, len(products), PER_JOB)]
    with open(path, "wb") as file, tqdm(total=len(order), desc=f"rendering {path.name}",
                                        unit=" products") as progress:
        for job, (documents, pictures) in zip(jobs, rendered(_render_products, jobs, options.workers)):
            file.write(documents)
            total += pictures
            progress.update(len(job[2]))
    return total


def _render_products(job):
    """(the BSON documents one after another, number of their pictures) of some products."""
    import bson
    import cv2
    import numpy as np
    from records.demo_catalogue import catalogue

    options, part, products = job
    cv2.setNumThreads(1)  # the jobs already keep every core busy
    categories = catalogue(options.level1, options.level2, options.level3, options.seed)
    documents, total = [], 0
    for product, number_ in products:
        index, place = divmod(number_, len(categories))
        label = categories[place]
        pictures = draw_product(label, part, index, options.seed, options.size)
        rng = np.random.default_rng([options.seed, 2, place, index])
        wrong, junk = rng.random(2)
        if part == TRAIN and wrong < options.wrong_rate and len(categories) > 1:
            label = categories[(place + rng.integers(1, len(categories))) % len(categories)]
        if part == TRAIN and junk < options.junk_rate:
            pictures[rng.integers(len(pictures))] = _junk(rng, options.size)
        jpegs = [cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes() for p in pictures]
        documents.append(bson.encode({
            "_id": product, **({"category_id": label.category_id} if part == TRAIN else {}),
            "imgs": [{"picture": jpeg} for jpeg in jpegs]}))
        total += len(jpegs)
    return b"".join(documents), total


def draw_product(category, part, index, seed, size):
    """List of uint8 [size, size, 3] BGR, one to four views of the index-th product of a category."""
    import numpy as np
    from records.demo_catalogue import FILLERS, styled
    from records.demo_cover import draw_cover, look_of, seen
    from records.demo_object import colours_of, draw_object

    key = [seed, 1, part, category.category_id, index]
    rng = np.random.default_rng(key)
    views = range(1 + int(rng.choice(4, p=PICTURES)))
    view = lambda number_: np.random.default_rng([*key, number_])
    plain = [number_ == 0 and rng.random() < 0.8 for number_ in views]
    if not category.words:
        kind, texture = category.kind, category.texture
        colours, grain = colours_of(kind, texture, rng), rng.uniform(0.75, 1.3)
        return [draw_object(kind, texture, colours, grain, view(n), size, plain[n]) for n in views]
    title = rng.choice(category.words, rng.integers(1, 3), replace=False).tolist()
    fillers = rng.choice(FILLERS, 3, replace=False).tolist()
    if rng.random() < 0.3:
        title.insert(rng.integers(len(title) + 1), fillers.pop())
    small = fillers[:rng.integers(1, 3)]
    cover, words = draw_cover(look_of(category.kind), [styled(word, rng) for word in title],
                              [styled(word, rng) for word in small], rng)
    return [seen(cover, words, view(n), size, plain[n])[0] for n in views]


def _junk(rng, size):
    """A picture that shows nothing: one gray, noise, or a gradient."""
    import numpy as np
    picture = np.full((size, size, 3), rng.uniform(120, 255))
    kind = rng.integers(3)
    if kind == 1:
        picture = rng.uniform(0, 255, (size, size, 3))
    elif kind == 2:
        picture *= np.linspace(0.4, 1, size)[:, None, None]
    return picture.astype(np.uint8)


if __name__ == "__main__":
    main()
