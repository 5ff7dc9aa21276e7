"""Merging the boxes of several detectors on a page: ms per page, against OpenCV's suppression.

    python -m benchmarks.box_fusion
    python -m benchmarks.box_fusion --boxes=2600 --members=4

Two snapshots that found the same characters, a little displaced, as system A merges them. OpenCV's
dnn.NMSBoxes, on the bare arrays, is what the ratio is against: it has none of the other methods.
"""
import argparse
import time

import keras2  # noqa: F401
import cv2
import numpy as np
import pandas as pd

from benchmarks.input_pipeline import print_rows, spread
from inference.box_fusion import METHODS, merge_boxes


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=1300, help="of all members together (default: 1300)")
    parser.add_argument("--members", type=int, default=2, help="(default: 2)")
    parser.add_argument("--repeats", type=int, default=15, help="(default: 15)")
    o = parser.parse_args()
    random = np.random.default_rng(0)
    n = o.boxes // o.members
    corners = random.uniform(0, [2300, 3800], [n, 2])
    members = [pd.DataFrame({
        "image_id": "page", "label": "", "label_score": np.nan, "score": random.uniform(0.3, 1, n),
        **dict(zip("xywh", np.concatenate([corners + random.normal(size=[n, 2]) * 3,
                                           random.uniform(40, 90, [n, 2])], axis=1).T))})
        for _ in range(o.members)]
    boxes = pd.concat(members)
    plain = boxes[list("xywh")].to_numpy(), boxes["score"].to_numpy()
    ways = {method: lambda method=method: merge_boxes(members, method, None if method == "soft_nms" else 0.3)
            for method in METHODS} | {"OpenCV NMSBoxes": lambda: cv2.dnn.NMSBoxes(*plain, 0.0, 0.3)}
    seconds = {name: [] for name in ways}
    for repeat in range(-1, o.repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    peer = np.array(seconds["OpenCV NMSBoxes"])
    print_rows(["way", "ms a page", "of OpenCV's"],
               [[name, spread(np.array(s) * 1e3, ".1f"), spread(np.array(s) / peer, ".2f")]
                for name, s in seconds.items()])


if __name__ == "__main__":
    main()
