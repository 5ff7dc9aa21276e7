"""Renders covers with words on them: a detection set of words, and the words cut out with their text.

    python -m records.demo_covers --out_dir data/demo_covers

OUT/images/NUMBER.jpg  covers as products are shown, drawn as those of records.demo_products, with other words; and
                       things without any
OUT/annotations.json   COCO's layout: a box round every word, all of the one category "text"
OUT/words/NUMBER.png   words cut out of further covers, with a little of what is round them
OUT/words.csv          path,text
OUT/demo.json          the options that made it

A cover is a pure function of (seed, its number, the size), whatever the number of workers.
"""
import itertools
import json

from arguments import Parser, number
from records.demo_folder import add_run_options, identity_of, make_set, rendered, write_csv

FORMAT = 2    # of the folder; raise it when the same options make other files
JPEG_QUALITY = 88
PER_JOB = 40  # covers
KINDS = 20    # of looks
MARGIN = 0.15  # of a word's height, the most that its crop shows round it


def parse_options(argv):
    parser = Parser(
        prog="python -m records.demo_covers",
        description="Renders covers with boxes round their words, and words cut out of covers with their text.",
        usage="python -m records.demo_covers [options]")
    what = parser.add_argument_group("what to render")
    what.add_argument("--covers", type=number(int, 0), default=600, help="pictures with boxes")
    what.add_argument("--things", type=number(int, 0), default=200,
                      help="pictures without words, and so without boxes")
    what.add_argument("--words", type=number(int, 0), default=6000, help="words cut out, of other covers")
    what.add_argument("--size", type=number(int, 96, 1024), default=180, help="side of the pictures, px")
    what.add_argument("--seed", type=number(int, 0), default=1, help="other seeds give other covers")
    add_run_options(parser, "data/demo_covers", "covers")
    return parser.parse_args(argv)


def main(argv=None):
    from records.demo_words import need_typeface
    options = parse_options(argv)
    make_set("covers", options, lambda: identity_of("covers", FORMAT, options),
             lambda folder: _is_whole(folder, options), lambda folder: _render_set(options, folder), need_typeface)


def _render_set(options, folder):
    boxes = _write_covers(options, folder)
    _write_words(options, folder)
    return f"{options.covers} covers with {boxes} words, {options.things} things, {options.words} words cut out"


def _is_whole(folder, options):
    return all((folder / name).is_file() for name in ("annotations.json", "words.csv")) and all(
        len(list((folder / name).iterdir())) == count
        for name, count in (("images", options.covers + options.things), ("words", options.words)))


def _rendered_pictures(draw_one, options, numbers):
    """Yields (JPEG, boxes of `seen`) of each number. draw_one: draw or draw_thing."""
    from tqdm import tqdm
    jobs = [(draw_one, options.seed, options.size, numbers[i:i + PER_JOB]) for i in range(0, len(numbers), PER_JOB)]
    with tqdm(total=len(numbers), desc="rendering", unit=" pictures") as progress:
        for covers in rendered(_render_pictures, jobs, options.workers):
            yield from covers
            progress.update(len(covers))


def _render_pictures(job):
    import cv2
    draw_one, seed, size, numbers = job
    cv2.setNumThreads(1)  # the jobs already keep every core busy
    return [(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes(), boxes)
            for picture, boxes in (draw_one(seed, number_, size) for number_ in numbers)]


def draw_thing(seed, number_, size):
    """(uint8 [size, size, 3] BGR, []) of the number-th picture without words."""
    import numpy as np
    from records.demo_object import TEXTURES, colours_of, draw_object
    from records.demo_tags import TAGS

    rng = np.random.default_rng([seed, 11, number_])
    kind, texture = rng.integers(len(TAGS)), rng.integers(len(TEXTURES))
    colours, grain = colours_of(kind, texture, rng), rng.uniform(0.75, 1.3)
    return draw_object(kind, texture, colours, grain, rng, size, plain=rng.random() < 0.4), []


def draw(seed, number_, size):
    """(uint8 [size, size, 3] BGR, [(text, x, y, w, h)] px) of the number-th cover."""
    import numpy as np
    from records.demo_catalogue import FILLERS, genres, invented, styled
    from records.demo_cover import draw_cover, look_of, seen

    rng = np.random.default_rng([seed, 9, number_])
    words = [str(rng.integers(1, 10 ** rng.integers(1, 5))) if rng.random() < 0.08 else
             word.lower() if rng.random() < 0.06 else styled(word, rng)
             for word in invented(rng, rng.integers(2, 6), {*FILLERS, *genres()})]
    at = 1 + len(words) // 2
    cover, placed = draw_cover(look_of(rng.integers(KINDS)), words[:at], words[at:], rng)
    return seen(cover, placed, rng, size, plain=rng.random() < 0.4)


def _write_covers(options, folder):
    """images/ and annotations.json; returns the number of boxes."""
    (folder / "images").mkdir()
    images, boxes = [], []
    pictures = itertools.chain(_rendered_pictures(draw, options, range(options.covers)),
                               _rendered_pictures(draw_thing, options, range(options.things)))
    for number_, (jpeg, found) in enumerate(pictures):
        name = f"{number_:06d}.jpg"
        (folder / "images" / name).write_bytes(jpeg)
        images.append({"id": number_, "file_name": name, "width": options.size, "height": options.size})
        boxes += [{"id": len(boxes) + place, "image_id": number_, "category_id": 1, "bbox": [x, y, w, h],
                   "area": w * h, "iscrowd": 0} for place, (_, x, y, w, h) in enumerate(found)]
    with open(folder / "annotations.json", "w", encoding="utf-8") as file:
        json.dump({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "text"}]}, file)
    return len(boxes)


def _write_words(options, folder):
    """words/ and words.csv, of as many covers as it takes, numbered on from those with boxes."""
    import cv2
    import numpy as np
    (folder / "words").mkdir()
    rows, first = [], options.covers
    while len(rows) < options.words:
        numbers = range(first, first + max(PER_JOB, (options.words - len(rows)) // 3))
        for number_, (jpeg, found) in zip(numbers, _rendered_pictures(draw, options, numbers)):
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            rng = np.random.default_rng([options.seed, 10, number_])
            for text, x, y, w, h in found:
                left, top, right, bottom = np.round(rng.uniform(0, MARGIN * h, 4)).astype(int)
                if len(rows) < options.words:
                    name = f"words/{len(rows):06d}.png"
                    crop = picture[max(0, y - top):y + h + bottom, max(0, x - left):x + w + right]
                    if not cv2.imwrite(str(folder / name), crop):
                        raise OSError(f"could not write {folder / name}")
                    rows.append((name, text))
        first = numbers.stop
    write_csv(folder / "words.csv", ("path", "text"), rows)


if __name__ == "__main__":
    main()
