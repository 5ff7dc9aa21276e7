"""How well texts were read: edit distance, character error rate, texts without a fault."""
import numpy as np

PAIRS_AT_ONCE = 4096  # bounds the memory: PAIRS_AT_ONCE x (longest text + 1) numbers


def edit_distances(read, truth):
    """int64 [n]: fewest insertions, deletions and replacements of a character that make read[i] truth[i].

    read, truth: n str each. (Levenshtein, 1966.)
    """
    if len(read) != len(truth):
        raise ValueError(f"{len(read)} texts were read, and {len(truth)} are the truth: there must be one for each")
    parts = [_distances(read[i:i + PAIRS_AT_ONCE], truth[i:i + PAIRS_AT_ONCE])
             for i in range(0, len(read), PAIRS_AT_ONCE)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _distances(read, truth):
    """Row by row of the table of prefixes, all pairs together."""
    (a, of_a), (b, of_b) = _codes(read), _codes(truth)
    place = np.arange(b.shape[1] + 1)
    row = np.tile(place, (len(a), 1))  # of the empty prefix of `read`
    distance = np.where(of_a == 0, of_b, 0)
    for i in range(a.shape[1]):
        replaced = row[:, :-1] + (a[:, i, None] != b)
        removed = row + 1
        removed[:, 1:] = np.minimum(removed[:, 1:], replaced)
        # An insertion comes from the left: the least of all to the left, each a step more.
        row = np.minimum.accumulate(removed - place, axis=1) + place
        distance = np.where(of_a == i + 1, row[np.arange(len(a)), of_b], distance)
    return distance


def _codes(texts):
    """Code points int64 [n, longest], padded by -1, and lengths int64 [n]."""
    lengths = np.array([len(text) for text in texts], np.int64)
    codes = np.full((len(texts), lengths.max(initial=0)), -1, np.int64)
    for row, text in zip(codes, texts):
        row[:len(text)] = [ord(character) for character in text]
    return codes, lengths


def text_figures(read, truth):
    """{"cer": character error rate, the edits of all texts by the characters of all true ones; "exact": share
    of texts without a fault}. Both are of n >= 1 texts with a character at least."""
    edits = edit_distances(read, truth)
    return {"cer": float(edits.sum() / sum(map(len, truth))), "exact": float((edits == 0).mean())}
