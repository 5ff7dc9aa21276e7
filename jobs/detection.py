"""What the jobs of --task=detect share: a CenterNet over pages, and the scores of what it found."""
import dataclasses
import functools

import numpy as np
import pandas as pd

from inference.boxes import non_max_suppression
from inference.coco_score import average_precision
from inference.kuzushiji_score import score_centres, score_pages
from inference.page_reader import PageReader
from inference.predict import Predictor
from inference.submissions import centre_points
from pipeline.batches import evaluation_batches
from records.letterbox import Letterbox


BATCH_PIXELS = 1 << 18  # of pages that a device sees together, unless one has more


class Finder:
    """Finds (and reads) characters on pages of the session's store; compiled once, used often."""

    def __init__(self, session, model, scales):
        o = session.options
        self.session, self.o, self.model = session, o, model
        reader = PageReader(model, scales, o.threshold, o.max_peaks,
                            session.run.info["classes"] == "heatmap")
        self.predictor = Predictor(lambda index, images: reader(images), session.strategy)
        info = session.store.info
        images = session.store.images().set_index("image_id")
        self.boxes = {page: Letterbox(int(width), int(height), info["image"]["size"],
                                      info["options"]["aspect"])
                      for page, width, height in images[["width", "height"]].itertuples()}
        self.class_names = np.array(session.run.class_names)

    def __call__(self, rows, source, positions, description):
        """DataFrame of detections on the pages at `rows` of the manifest, in their order.

        Columns as records.detections. Pages with more peaks than --max_peaks are named.
        """
        session, side = self.session, self.session.store.info["image"]["size"]
        page_format = dataclasses.replace(session.input_format, size=side)
        together = max(1, BATCH_PIXELS // side ** 2)
        batches = evaluation_batches(source, positions, page_format,
                                     batch_size=together * session.strategy.num_replicas_in_sync)
        pages = session.store.manifest["image_id"].to_numpy()[rows]
        frames, crowded = {}, []
        for index, values in self.predictor.results(batches, len(rows), description):
            for place, number in enumerate(index):
                found = {name: value[place] for name, value in values.items()}
                if found["count"] > self.o.max_peaks:
                    crowded.append(f"{pages[number]} ({found['count']})")
                frames[number] = self._frame(pages[number], found)
        if crowded:
            print(f"warning: more than --max_peaks={self.o.max_peaks} centres on {len(crowded)} "
                  f"pages; the best are kept, so raise it: {', '.join(crowded[:5])}")
        return pd.concat([frames[number] for number in range(len(rows))], ignore_index=True)

    def _frame(self, page, found):
        found = {name: value[:min(found["count"], self.o.max_peaks)]
                 for name, value in found.items() if name != "count"}
        letterbox = self.boxes[page]
        size = letterbox.width, letterbox.height
        centres = letterbox.to_page(found["centres"].astype(np.float64))
        corners = letterbox.to_page(found["boxes"].astype(np.float64).reshape(-1, 2, 2))
        # At least 1 px about the centre; not clipped to the page, so that the centre stays.
        sides = np.maximum(corners[:, 1] - corners[:, 0], 1)
        boxes = np.concatenate([centres - sides / 2, sides], axis=1)
        # What lies in the padding is not on the page.
        kept = np.flatnonzero(((centres > 0) & (centres < size)).all(axis=1))
        if self.o.nms_iou is not None:
            groups = (found["class_id"][kept] if self.session.run.info["classes"] == "heatmap"
                      else None)
            kept = kept[non_max_suppression(boxes[kept], found["score"][kept], self.o.nms_iou,
                                            groups)]
        reads = self.session.run.info["classes"] != "none"
        labels = self.class_names[found["class_id"][kept]] if reads else [""] * len(kept)
        return pd.DataFrame({"image_id": page, **dict(zip("xywh", boxes[kept].round(2).T)),
                             "score": found["score"][kept].astype(float).round(4), "label": labels,
                             "label_score": found["class_score"][kept].astype(float).round(4)})


def by_page(frame, pages):
    """{image_id: (labels list, boxes float [n, 4] x y w h, scores [n])} for `pages`, all of them."""
    groups = dict(list(frame.groupby("image_id", sort=False)))
    result = {}
    for page in pages:
        part = groups.get(page, frame.iloc[:0])
        scores = part["score"].to_numpy(float) if "score" in part else None
        result[page] = part["label"].tolist(), part[list("xywh")].to_numpy(float), scores
    return result


def centre_figures(truth, found, reads):
    """dict of figures. truth: {image_id: (labels, boxes)}. found: as by_page gives it. reads: whether
    the detections have labels.

    centre_*: whether a centre lies in a true box, whatever the class; f1: the Kuzushiji score.
    """
    points = {page: (labels, centre_points(boxes)) for page, (labels, boxes, _) in found.items()}
    centres = score_centres(truth, points)
    figures = {"centre_precision": centres.precision, "centre_recall": centres.recall,
               "centre_f1": centres.f1}
    if reads:
        figures["f1"] = score_pages(truth, points).f1
    return figures


def average_precisions(truth, frame, reads, max_peaks):
    """ap, ap50, ap75 of boxes whatever the class; class_ap, the mean over classes, if it `reads`.

    truth: {image_id: (labels, boxes)}; frame: the detections on these pages. Boxes are ranked by
    score, for class_ap by score x label_score.
    """
    found = by_page(frame, truth)

    def one_class(pages):
        return {page: ([""] * len(value[0]), *value[1:]) for page, value in pages.items()}
    ap = average_precision(one_class(truth), one_class(found), max_peaks)
    figures = {"ap": ap["AP"] or 0.0, "ap50": ap["AP50"] or 0.0, "ap75": ap["AP75"] or 0.0}
    if reads:
        sure = by_page(frame.assign(score=frame["score"] * frame["label_score"]), truth)
        figures["class_ap"] = average_precision(truth, sure, max_peaks)["AP"] or 0.0
    return figures


def describe(figures):
    """The figures as a line of text."""
    reading = (f"F1 {figures['f1']:.4f}; " if "f1" in figures else "")
    classes = (f", mean over classes {figures['class_ap']:.4f}" if "class_ap" in figures else "")
    return (f"{reading}centres whatever the class: precision {figures['centre_precision']:.4f}, recall "
            f"{figures['centre_recall']:.4f}; AP of boxes {figures['ap']:.4f} (at IoU 0.5 "
            f"{figures['ap50']:.4f}){classes}")


def validation(session, scales, precisions):
    """A function of a model giving the figures of the validation pages.

    precisions: COCO's average precisions too, which take about a second for 1,000 characters.
    """
    source, position = session.source
    rows = session.rows[1]
    pages = session.store.manifest["image_id"].to_numpy()[rows].tolist()
    truth = {page: (labels, boxes) for page, (labels, boxes, _) in
             by_page(session.store.boxes(), pages).items()}
    finder = functools.lru_cache(maxsize=1)(lambda model: Finder(session, model, scales))

    def figures(model):
        frame = finder(model)(rows, source, position[rows], "validating")
        reads = session.run.info["classes"] != "none"
        figures = centre_figures(truth, by_page(frame, pages), reads)
        if precisions:
            figures |= average_precisions(truth, frame, reads, session.options.max_peaks)
        return figures
    return figures
