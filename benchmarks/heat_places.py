"""How often the hottest place of a heat map lies on what the label names: on rendered artworks.

  python -m benchmarks.heat_places --data_dir data/demo_imet/imet --run_dir RUN [--images 200]

Of test images, which no run has seen: the labels that --job=grad_cam draws when none are asked for, the
likeliest three, as far as the run finds them likelier than not and they are things drawn at a known place
(places.csv). Beside it the share of the image that these things cover, which is what a random place would
score.
"""
import argparse
import pathlib

import keras2  # noqa: F401  before anything imports TensorFlow
import numpy as np
import pandas as pd
import tensorflow as tf

from inference.predict import Predictor
from jobs.grad_cam import MOST_LABELS, looked_at
from jobs.options import parse
from jobs.session import Session
from models.grad_cam import heat_maps
from records.annotations import find_image
from records.images import open_image

AT_ONCE = 32  # images


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=pathlib.Path, required=True, help="of records.demo_artworks")
    parser.add_argument("--run_dir", required=True, help="a run trained on them")
    parser.add_argument("--images", type=int, default=200, help="of the test images, at most (default: 200)")
    o = parser.parse_args()
    names = pd.read_csv(o.data_dir / "labels.csv", index_col="attribute_id")["attribute_name"]
    ids = sorted(pd.read_csv(o.data_dir / "test_truth.csv", dtype={"id": str})["id"])[:o.images]
    places = dict(list(pd.read_csv(o.data_dir / "places.csv", dtype={"id": str}).groupby("id")))
    ids = [i for i in ids if i in places]
    paths = [pathlib.Path(find_image(o.data_dir / "test", i)) for i in ids]
    session = Session(parse(["--task=multilabel", "--job=grad_cam", f"--run_dir={o.run_dir}", "--images", *map(str, paths)]))
    method, heat_of = heat_maps(session.model)
    number = {name: k for k, name in enumerate(session.run.class_names)}

    def look(index, images):
        logits, labels = tf.math.top_k(tf.cast(session.model(images[:, 0], training=False), tf.float32), MOST_LABELS)
        return {"logits": logits, "labels": labels, "heat": heat_of(images[:, 0], labels)}
    predictor = Predictor(look, session.strategy)
    hits, covered = [], []
    for start in range(0, len(ids), AT_ONCE):
        part = paths[start:start + AT_ONCE]
        for image_id, path, seen in zip(ids[start:], part, looked_at(session, predictor, part)):
            _, width, height = open_image(path)
            for logit, label, heat in zip(seen["logits"], seen["labels"], seen["heat"]):
                side = len(heat)
                inside = np.zeros((side, side), bool)
                for row in places[image_id].itertuples():
                    if number.get(names[row.attribute_id]) == label:
                        x0, x1 = (int(v * side / width) for v in (row.x, row.x + row.w))
                        y0, y1 = (int(v * side / height) for v in (row.y, row.y + row.h))
                        inside[y0:y1 + 1, x0:x1 + 1] = True
                if logit > 0 and inside.any() and heat.any():
                    hits.append(inside.flat[heat.argmax()])
                    covered.append(inside.mean())
    print(f"{method} of {o.run_dir}: of {len(hits)} labels of things on {len(ids)} images the hottest place lies "
          f"on the thing in {np.mean(hits):.3f}; things cover {np.mean(covered):.3f} of the image")


if __name__ == "__main__":
    main()
