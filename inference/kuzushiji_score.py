"""The Kuzushiji Recognition score: micro F1 over all pages, by the competition's rule (system A)."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Score:
    """Counts over all pages; f1, precision and recall in 0..1 (0 where nothing is to be found)."""
    matched: int
    predicted: int
    true: int

    @property
    def precision(self):
        return self.matched / self.predicted if self.predicted else 0.0

    @property
    def recall(self):
        return self.matched / self.true if self.true else 0.0

    @property
    def f1(self):
        return 2 * self.matched / (self.predicted + self.true) if self.matched else 0.0


def match_page(true_labels, true_boxes, labels, points):
    """Which prediction each true box got, list of int, -1 for none.

    The true boxes are walked in file order; each takes the first unused prediction with its label
    whose point lies strictly inside it. true_boxes: [n][x, y, w, h]; points: [m][x, y], px.
    """
    waiting = {}  # label -> unused predictions, in order
    for number, label in enumerate(labels):
        waiting.setdefault(label, []).append(number)
    matches = []
    for label, (x, y, w, h) in zip(true_labels, true_boxes, strict=True):
        candidates = waiting.get(label, [])
        found = next((k for k, number in enumerate(candidates)
                      if x < points[number][0] < x + w and y < points[number][1] < y + h), None)
        matches.append(-1 if found is None else candidates.pop(found))
    return matches


def score_pages(truth, predictions):
    """Score of {image_id: (labels, points)} against {image_id: (labels, boxes)}, the same pages."""
    matched = predicted = true = 0
    for image_id, (true_labels, true_boxes) in truth.items():
        labels, points = predictions[image_id]
        matched += sum(m >= 0 for m in match_page(true_labels, true_boxes, labels, points))
        predicted += len(labels)
        true += len(true_labels)
    return Score(matched, predicted, true)
