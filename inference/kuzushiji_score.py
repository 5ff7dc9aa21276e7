"""The Kuzushiji Recognition score: micro F1 over all pages, by the competition's rule (system A);
the same for centres regardless of class, and where the false ones lie."""
import collections
import dataclasses

CHARACTER, OTHER = "character", "other"  # places of false positives besides the unread kinds


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
    for label, box in zip(true_labels, true_boxes, strict=True):
        candidates = waiting.get(label, [])
        found = next((k for k, number in enumerate(candidates)
                      if inside(points[number], box)), None)
        matches.append(-1 if found is None else candidates.pop(found))
    return matches


def inside(point, box):
    """True if a point (x, y) lies strictly inside a box (x, y, w, h)."""
    (px, py), (x, y, w, h) = point, box
    return x < px < x + w and y < py < y + h


def score_pages(truth, predictions):
    """Score of {image_id: (labels, points)} against {image_id: (labels, boxes)}, the same pages."""
    matched = predicted = true = 0
    for image_id, (true_labels, true_boxes) in truth.items():
        labels, points = predictions[image_id]
        matched += sum(m >= 0 for m in match_page(true_labels, true_boxes, labels, points))
        predicted += len(labels)
        true += len(true_labels)
    return Score(matched, predicted, true)


def score_centres(truth, predictions):
    """Score of the places alone, arguments as of `score_pages`: every label counts as right.

    The competition's rule is kept, first come first served: where true boxes overlap, a box may
    take the one point that another needed, so the order of boxes and of predictions matters a
    little, and the score can be below that of the best possible assignment, never above it.
    """
    return score_pages(_of_one_class(truth), _of_one_class(predictions))


def false_positives_on(truth, predictions, unread):
    """What lies under the points that `score_centres` matched to no true box: {place: count}.

    unread: {image_id: [(kind, x, y, w, h)]}, px; pages may be missing. Each point counts once:
    as "character" if it lies strictly inside a true box (a character found twice; shine-through is
    mostly behind characters, so this goes first), else as the kind of the smallest unread box round
    it, else as "other". Every kind of `unread` is in the result, and so are these two.
    """
    kinds = sorted({kind for boxes in unread.values() for kind, *_ in boxes})
    if {CHARACTER, OTHER} & set(kinds):
        raise ValueError(f"the unread kinds {kinds} must not have the names {CHARACTER!r} and "
                         f"{OTHER!r}, which stand for other places: rename them")
    counts = collections.Counter({place: 0 for place in [*kinds, CHARACTER, OTHER]})
    no_class = _of_one_class(predictions)
    for image_id, (true_labels, true_boxes) in _of_one_class(truth).items():
        labels, points = no_class[image_id]
        used = set(match_page(true_labels, true_boxes, labels, points))
        for number, point in enumerate(points):
            if number not in used:
                counts[_place(point, true_boxes, unread.get(image_id, []))] += 1
    return dict(counts)


def _of_one_class(pages):
    return {image_id: ([""] * len(labels), places) for image_id, (labels, places) in pages.items()}


def _place(point, true_boxes, unread):
    if any(inside(point, box) for box in true_boxes):
        return CHARACTER
    round_it = [(w * h, kind) for kind, x, y, w, h in unread if inside(point, (x, y, w, h))]
    return min(round_it)[1] if round_it else OTHER
