"""--job=preview of --task=detect: the first training crops, augmented, with what they teach."""
import numpy as np

from jobs.detector_train import augmented_batches
from jobs.preview import MOST, draw_examples
from models.centernet import CenterNet


def run(session):
    images, targets = next(iter(augmented_batches(session, "host").take(1)))
    names = session.store.class_names
    of_crops = zip(*(targets[name].numpy()[:MOST]
                     for name in ("cells", "offset", "size", "class_ids", "mask")))
    boxes = []
    for cells, offset, size, class_ids, mask in of_crops:
        centre = cells[:, ::-1] + offset  # x y, in cells
        corners = CenterNet.stride * np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        boxes.append([(*corners[k], names[class_ids[k]]) for k in np.flatnonzero(mask)])
    draw_examples(session, images, [f"characters: {len(found)}" for found in boxes], boxes)
