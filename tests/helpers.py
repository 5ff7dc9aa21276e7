"""Small data in the real formats, made by the tests."""
import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage

needs_opencv_5 = pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="renders text: OpenCV 4 "
                                    "(requirements-addons.txt) has no typeface")


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def random_page(random, height=180, width=140):
    """A smooth random uint8 page, BGR, so that neighbouring pixels resemble each other."""
    small = random.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def make_kaggle(folder, books=("a", "b"), pages=2, characters=6, seed=0, split="train"):
    """A data folder in the Kaggle layout; returns {image_id: [(label, x, y, w, h), ...]}."""
    random = np.random.default_rng(seed)
    images = folder / f"{split}_images"
    images.mkdir(parents=True, exist_ok=True)
    truth = {}
    for book in books:
        for number in range(pages):
            image_id = f"{book}_{number}"
            cv2.imwrite(str(images / f"{image_id}.jpg"), random_page(random))
            truth[image_id] = [(f"U+{0x3042 + i % 3:04X}", int(random.integers(0, 100)),
                                int(random.integers(0, 140)), int(random.integers(10, 40)),
                                int(random.integers(10, 40))) for i in range(characters)]
    write_csv(folder / f"{split}.csv", ["image_id", "labels"],
              [(page, " ".join(" ".join(map(str, box)) for box in boxes))
               for page, boxes in truth.items()])
    return truth


def make_classes(folder, classes=3, per_class=8, size=24, seed=0):
    """A folder per class of PNGs told apart by a bright row; names end in _GROUP."""
    random = np.random.default_rng(seed)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(per_class):
            image = random.integers(0, 60, (size, size, 3)).astype(np.uint8)
            at = 2 + label * (size - 4) // max(classes - 1, 1)
            image[at - 2:at + 2] = 250
            cv2.imwrite(str(folder / f"class{label}" / f"{label}{number:02d}_{number % 4}.png"), image)


def run_module(*arguments, env=None, timeout=300):
    """Runs `python ARGUMENTS` as a user would; returns the completed process, output as text."""
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, env=env)


def smooth_images(n=4, h=40, w=32, c=3, sigma=2, seed=0):
    """uint8 over the whole range: rough enough to be blurred, smooth enough to have structure."""
    random = np.random.default_rng(seed).normal(size=(n, h, w, c))
    images = scipy.ndimage.gaussian_filter(random, (0, sigma, sigma, 0))
    return (128 + images / images.std() * 60).clip(0, 255).astype(np.uint8)


def modes(function, *arguments):
    """The function's results as NumPy: eagerly, inside tf.data, and compiled by XLA."""
    import tensorflow as tf  # not with the module: packing's tests do without
    arguments = tf.nest.map_structure(tf.constant, arguments)
    inside = tf.data.Dataset.from_tensors(arguments).map(function)
    for result in (function(*arguments), next(iter(inside)),
                   tf.function(function, jit_compile=True)(*arguments)):
        yield tf.nest.map_structure(lambda x: x.numpy(), result)


def make_products(folder, out, counts=(1, 2, 3, 4), per_count=4, classes=4, n_folds=2, size=16, seed=0,
                  source="train"):
    """Packs a store as --format=cdiscount makes them, of gray pictures that a bright row tells apart; returns
    its table, DataFrame path, label, id, group, fold.

    per_count: products of each class and number of pictures; product 7 has the pictures 7_0, 7_1, … Class c
    belongs to c // 2 at level 1 and to itself at level 2.
    """
    import create_tfrecords
    random, rows = np.random.default_rng(seed), []
    (folder / "pictures").mkdir(parents=True)
    kinds = [(label, count) for count in counts for label in range(classes) for _ in range(per_count)]
    for number, at in enumerate(random.permutation(len(kinds))):
        label, count = kinds[at]
        for k in range(count):
            image = random.integers(0, 90, (size, size)).astype(np.uint8)
            row = 1 + label * (size - 4) // max(classes - 1, 1)
            image[row:row + 2] = 230
            path = f"pictures/{number}_{k}.png"
            cv2.imwrite(str(folder / path), image)
            rows.append((path, f"c{label}", f"{number}_{k}", str(number), int(at) % n_folds))
    header = ["path", "label", "id", "group", "fold"]
    write_csv(folder / "table.csv", header, rows)
    create_tfrecords.main(["--format=csv", f"--data_dir={folder}", f"--csv={folder / 'table.csv'}",
                           f"--out_dir={out}", f"--size={size}", "--channels=1", "--encoding=png", "--workers=1",
                           f"--source={source}"])
    if source == "train":
        info = json.loads((out / "dataset.json").read_text())
        info["class_levels"] = [
            {"name": "category_level1", "names": [f"pair{k}" for k in range(-(-classes // 2))],
             "of_class": [k // 2 for k in range(classes)]},
            {"name": "category_level2", "names": [f"single{k}" for k in range(classes)],
             "of_class": list(range(classes))}]
        (out / "dataset.json").write_text(json.dumps(info))
    return pd.DataFrame(rows, columns=header)
