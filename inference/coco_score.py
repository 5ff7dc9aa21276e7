"""COCO average precision of detected boxes, by pycocotools."""
import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(truth, detections, max_detections=1300):
    """{"AP", "AP50", "AP75", "AR"}, each 0..1, the mean over the classes that have a true box.

    truth: {image_id: (labels [n], boxes [n, 4] x y w h)}, px. detections: the same image ids,
    {image_id: (labels [m], boxes float [m, 4], scores [m])}. Labels: of any kind that can be
    compared; all the same for a score regardless of class. max_detections: how many count, those
    of the highest scores, per image and class; COCO's own 100 would cut a page of characters.
    AP: mean over intersections over union of 0.5, 0.55, ... 0.95; AP50, AP75: at 0.5 and at 0.75;
    AR: the recall of all that count, mean over the same. All four are None where no image has a
    true box.
    Source: Lin et al., "Microsoft COCO", 2014, arXiv:1405.0312. ValueError for ids that differ,
    lengths that differ and numbers that are not finite.
    """
    _check(truth, detections, max_detections)
    classes = {label: number for number, label in
               enumerate(dict.fromkeys(label for labels, _ in truth.values() for label in labels))}
    if not classes:
        return dict.fromkeys(("AP", "AP50", "AP75", "AR"))
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        evaluation = COCOeval(_dataset(truth, truth, classes), _dataset(truth, detections, classes),
                              "bbox")
        settings = evaluation.params
        settings.maxDets = [max_detections]
        settings.areaRng, settings.areaRngLbl = settings.areaRng[:1], settings.areaRngLbl[:1]  # all
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [iou, recall, class, 1, 1]
    at = dict(zip(np.round(settings.iouThrs, 2).tolist(), precision))
    return {"AP": float(precision.mean()), "AP50": float(at[0.5].mean()),
            "AP75": float(at[0.75].mean()), "AR": float(evaluation.eval["recall"].mean())}


def _dataset(images, annotated, classes):
    """COCO's tables of boxes, with scores where there are any; classes: {label: number}.

    A detection of a class without a true box is left out: COCO does not count it.
    """
    annotations = []
    for number, image_id in enumerate(images):
        labels, boxes, *scores = annotated[image_id]
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4).tolist()
        scores = np.asarray(scores[0], np.float64).tolist() if scores else [None] * len(boxes)
        annotations += [
            {"id": 0, "image_id": number, "category_id": classes[label], "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0, "score": score}
            for label, box, score in zip(labels, boxes, scores) if label in classes]
    for number, annotation in enumerate(annotations, start=1):  # 0 stands for "not matched"
        annotation["id"] = number
    dataset = COCO()
    dataset.dataset = {"images": [{"id": number} for number in range(len(images))],
                       "categories": [{"id": number} for number in classes.values()],
                       "annotations": annotations}
    dataset.createIndex()
    return dataset


def _check(truth, detections, max_detections):
    if max_detections < 1:
        raise ValueError(f"max_detections must be at least 1, got {max_detections}")
    odd = sorted(set(truth) ^ set(detections), key=str)
    if odd:
        raise ValueError(f"{len(odd)} images are only in the truth or only among the detections, "
                         f"for instance {odd[0]!r}: give ([], [], []) for one without detections")
    for what, images in (("true boxes", truth), ("detections", detections)):
        for image_id, (labels, *numbers) in images.items():
            sizes = [np.size(numbers[0]) / 4, *map(np.size, numbers[1:])]
            if any(size != len(labels) for size in sizes):
                raise ValueError(f"image {image_id!r}: the {what} have {len(labels)} labels, but "
                                 f"{' and '.join(f'{size:g}' for size in sizes)} of the rest "
                                 "(boxes, scores): all must be of one length")
            if not all(np.isfinite(np.asarray(n, np.float64)).all() for n in numbers):
                raise ValueError(f"image {image_id!r}: the {what} hold numbers that are not "
                                 "finite; drop them before the score, and see what made them")
