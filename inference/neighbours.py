"""Re-identification by embeddings: the nearest images of a gallery, and who is not among them.

The embeddings are the features below a classifier's head (models.classifier.feature_model); how near
two are is the cosine of their angle.
"""
import numpy as np

from inference.ranking import top_k

BLOCK = 2048  # images


def normalised(features):
    """float32 [n, d], each row of length 1; a row of zeros stays so, and has similarity 0 to all.

    features: float [n, d], finite. Raises ValueError.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"features are needed as [images, features], got {list(features.shape)}")
    largest = np.abs(features).max(1, keepdims=True)  # divided by first, so that no square overflows
    if not np.isfinite(largest).all():
        raise ValueError(f"the features of image {np.flatnonzero(~np.isfinite(largest))[0]} are not "
                         "finite: see what made them")
    features = (features / np.where(largest > 0, largest, 1)).astype(np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def nearest(gallery, queries, k, exclude=None, block=BLOCK):
    """The k images of the gallery nearest to each query: (indices int64 [n, k], similarity float32
    [n, k]), best first, of equally near ones the lower index.

    gallery: float [m, d]; queries: float [n, d]; of any length, they are normalised here. similarity:
    cosine, -1..1. exclude: int [n], for each query an index of the gallery that it must not find,
    itself when the gallery is asked about its own images; -1 for none. 1 <= k <= m, or m - 1 with
    exclude.

    block: images of each side that are compared at once. What is held besides arguments and results
    is about 25 * block * (block + d) bytes (230 MB of 2,560 features), whatever n and m are. Products
    are summed in float64 and then rounded, so that two like images of the gallery come out equally
    near and no result depends on the block. Raises ValueError.
    """
    gallery, queries = np.asarray(gallery), np.asarray(queries)
    if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1] != queries.shape[1]:
        raise ValueError("gallery and queries must have the same features, [images, features]: got "
                         f"{list(gallery.shape)} and {list(queries.shape)}")
    if exclude is not None:
        exclude = _checked(exclude, len(queries), len(gallery))
    most = len(gallery) - (exclude is not None)
    if not 1 <= k <= most:
        raise ValueError(f"{k} neighbours are asked for; the gallery of {len(gallery)} images can give "
                         f"1 to {most}")
    indices = np.empty((len(queries), k), np.int64)
    similarity = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        indices[rows], similarity[rows] = _nearest(
            gallery, queries[rows], k, None if exclude is None else exclude[rows], block)
    return indices, similarity


def class_similarity(similarity, neighbour_labels, n_classes):
    """Each class's score, float32 [n, n_classes]: the similarity of its nearest neighbour; -inf where
    none of the neighbours is of the class.

    similarity: float [n, k], in any order; neighbour_labels: int [n, k], 0..n_classes-1.
    """
    similarity, labels = np.asarray(similarity), np.asarray(neighbour_labels)
    if similarity.shape != labels.shape or similarity.ndim != 2:
        raise ValueError(f"each neighbour needs a label: got {list(labels.shape)} labels for "
                         f"similarities {list(similarity.shape)}")
    if labels.size and (labels.min() < 0 or labels.max() >= n_classes):
        raise ValueError(f"labels of neighbours must be 0..{n_classes - 1}, got {labels.min()}.."
                         f"{labels.max()}")
    scores = np.full((len(labels), n_classes), -np.inf, np.float32)
    rows = np.arange(len(labels))
    for values, classes in zip(similarity.T, labels.T):  # a neighbour of every query
        scores[rows, classes] = np.maximum(scores[rows, classes], values)
    return scores


def new_individual_threshold(similarity_known, similarity_new, share_new=0.5):
    """(threshold float, figures dict): a query whose best similarity is below it is a new individual.

    similarity_known: float [n], the best similarity of queries whose individual is in the gallery
    (without themselves); similarity_new: float [m], of queries whose individual is not. n, m >= 1.

    The threshold is the best of all there are for the accuracy at a share of `share_new` (0..1) of
    new individuals; at 0.5, the default, that is the balanced accuracy. It is the default since the
    shares of a validation set are those of its making and not those of the field.
    It lies midway between two values. Of equally good ones it is in the widest gap, so that it holds
    best for others, then the lowest; one outside of all values comes last of them.

    figures: auroc, the probability that a known one is nearer than a new one (a half for equal);
    accuracy, at the threshold and share_new; known_kept and new_found, the shares of either that the
    threshold puts right. Raises ValueError.
    """
    dtype = np.result_type(np.float32, np.asarray(similarity_known), np.asarray(similarity_new))
    known, new = (np.sort(np.asarray(values, dtype)) for values in (similarity_known, similarity_new))
    if known.ndim != 1 or new.ndim != 1 or not known.size or not new.size or not 0 <= share_new <= 1 or (
            not np.isfinite([*known[[0, -1]], *new[[0, -1]]]).all()):  # sorted, NaN is last
        raise ValueError("a threshold needs a finite similarity of one known and one new individual at "
                         f"least, and a share of new from 0 to 1: got {list(known.shape)} and "
                         f"{list(new.shape)}, share {share_new}")
    values = np.unique(np.concatenate([known, new]))
    # In the values' own type, so that a comparison in it puts every value where it was counted.
    middle = values[:-1] + (values[1:] - values[:-1]) / 2
    middle = np.where(middle > values[:-1], middle, values[1:])
    cuts = np.concatenate([values[:1], middle, np.nextafter(values[-1:], np.inf, dtype=values.dtype)])
    gaps = np.concatenate([[0], np.diff(values), [0]])
    kept = len(known) - np.searchsorted(known, cuts)  # at the cut or above
    found = np.searchsorted(new, cuts)                # below it
    # Times n * m, which keeps whole numbers and their halves exact, and equally good cuts equal.
    worth = (1 - share_new) * (kept * len(new)) + share_new * (found * len(known))
    best = np.flatnonzero(worth == worth.max())
    best = best[gaps[best].argmax()]
    from sklearn.metrics import roc_auc_score  # takes 2 s
    truth = np.repeat([1, 0], [len(known), len(new)])
    return float(cuts[best]), {
        "auroc": float(roc_auc_score(truth, np.concatenate([known, new]))),
        "accuracy": float(worth[best] / (len(known) * len(new))),
        "known_kept": float(kept[best] / len(known)), "new_found": float(found[best] / len(new))}


def _nearest(gallery, queries, k, exclude, block):
    """`nearest` of one block of queries: the best so far against a block of the gallery at a time."""
    queries = normalised(queries).astype(np.float64)
    indices = np.empty((len(queries), 0), np.int64)
    similarity = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(gallery), block):
        part = normalised(gallery[start:start + block]).astype(np.float64)
        here = (queries @ part.T).astype(np.float32).clip(-1, 1)  # [n, block]
        if exclude is not None:
            own = np.flatnonzero((exclude >= start) & (exclude < start + len(part)))
            here[own, exclude[own] - start] = -np.inf  # last of all, so beyond the k best at the end
        # Those so far have lower indices and stand first, so a tie of columns is one of indices.
        here = np.concatenate([similarity, here], axis=1)
        best = top_k(here, min(k, here.shape[1]))
        similarity = np.take_along_axis(here, best, 1)
        n_before = indices.shape[1]
        own = np.take_along_axis(indices, np.minimum(best, n_before - 1), 1) if n_before else best
        indices = np.where(best < n_before, own, best - n_before + start)
    return indices, similarity


def _checked(exclude, n, m):
    exclude = np.asarray(exclude)
    if exclude.shape != (n,) or not np.issubdtype(exclude.dtype, np.integer) or (
            n and (exclude.min() < -1 or exclude.max() >= m)):
        raise ValueError(f"exclude needs for each of {n} queries an index of the gallery, int "
                         f"0..{m - 1}, or -1; got {exclude.dtype} {list(exclude.shape)}")
    return exclude
