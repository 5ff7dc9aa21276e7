"""The second level on made-up probabilities: seconds, rows per second and peak memory of its parts.

    python -m benchmarks.second_level
    python -m benchmarks.second_level --images=1200 --labels=100 --rounds=50

Three growing numbers of images, with some 3 labels each; the models' probabilities are float16 and
correlated. In turn at each: making the columns of all rows by chunks; drawing the rows of one fold and
fitting its booster; rating all rows with it. The limit is LightGBM's own prediction of the rows of one
chunk that lie ready, in the order it likes best: ours is rated by rows per second as a share of that. For
making columns the limit is a copy of as many bytes. Peak memory is that of the process so far (the
probabilities that all of it works on included), so the largest number counts.
"""
import argparse
import resource
import sys
import time

import numpy as np
import scipy.sparse

from benchmarks.input_pipeline import print_rows
from inference.image_features import NAMES
from inference.second_level import CHUNK_BYTES, DEFAULTS, fit_fold, label_frequency, lightgbm_settings, rate
from inference.second_level_rows import Draw, FirstLevel, count_rows

N_FOLDS = 5


def made_up(n, k, m, seed=0):
    """(probabilities: list of m float16 [n, k], truth: csr bool [n, k], image_values float32 [n, 4])."""
    random = np.random.default_rng(seed)
    rarity = 1 / (np.arange(k) + 5)
    share = (3 * rarity / rarity.sum()).clip(0, 0.5).astype(np.float32)  # some 3 labels an image
    probabilities, truth = [np.empty((n, k), np.float16) for _ in range(m)], []
    for at in range(0, n, 256):
        rows = slice(at, min(at + 256, n))
        shape = (rows.stop - at, k)
        true = random.random(shape, np.float32) < share
        truth.append(scipy.sparse.csr_array(true))
        shared = 1.5 * random.standard_normal(shape, np.float32) + 4 * true + np.log(share)
        for model in probabilities:
            model[rows] = 1 / (1 + np.exp(-shared - random.standard_normal(shape, np.float32)))
    return probabilities, scipy.sparse.vstack(truth, format="csr"), random.random((n, 4), np.float32)


def timed(part):
    start = time.perf_counter()
    result = part()
    return time.perf_counter() - start, result


def peak():
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f}"  # kB on Linux


def measure(n, o):
    """Rows of the table for n images."""
    probabilities, truth, image_values = made_up(n, o.labels, o.models)
    made_peak = peak()
    first = FirstLevel(probabilities, [f"m{k}" for k in range(o.models)], image_values, NAMES,
                       np.arange(o.labels) % 2)
    n_features, n_rows, everyone = len(first.features), n * o.labels, np.arange(n)
    folds, draw = everyone % N_FOLDS, Draw(max_rows=o.max_rows)
    settings = lightgbm_settings(DEFAULTS, 0, o.threads)
    frequency = label_frequency(truth, folds != 0)
    chunks = first.chunks(everyone, CHUNK_BYTES)
    buffer = np.empty(n_features * len(chunks[0]) * o.labels, np.float32)

    def make():
        for part in chunks:
            rows = np.arange(len(part) * o.labels)
            first.make(first.read(part), part, rows, frequency,
                       buffer[:n_features * len(rows)].reshape(n_features, -1))

    def copy():
        for part in chunks:
            size = len(part) * o.labels * n_features
            np.copyto(buffer[:size], ready[:size])

    ready = np.ones_like(buffer)
    copy()  # touches the memory of both
    make_seconds, _ = timed(make)
    make_peak = peak()
    copy_seconds, _ = timed(copy)
    del ready
    count_seconds, counts = timed(lambda: count_rows(first, truth, draw, CHUNK_BYTES))
    fit_seconds, booster = timed(lambda: fit_fold(
        first, truth, counts, folds, 0, frequency, draw, settings, np.random.default_rng(0), o.rounds,
        0, CHUNK_BYTES))
    fit_peak = peak()
    out = np.empty((n, o.labels), np.float32)
    rate_seconds, _ = timed(lambda: rate(first, everyone, [booster], frequency[None], out, 0.0, CHUNK_BYTES,
                                         o.threads))
    rows = len(chunks[0]) * o.labels
    ready = first.make(first.read(chunks[0]), chunks[0], np.arange(rows), frequency).T
    bare = rows / np.median([timed(lambda: booster.predict(ready, num_threads=o.threads))[0]
                             for _ in range(3)])
    trained = min(o.max_rows, int(counts[folds != 0].sum()))
    speed = lambda count, seconds: f"{count / seconds:,.0f}"
    return [[f"{n:,}", "probabilities made up", "", "", "", made_peak],
            [f"{n:,}", f"{n_features} columns", f"{make_seconds:.1f}", speed(n_rows, make_seconds),
             f"{copy_seconds / make_seconds:.2f} of a copy's", make_peak],
            [f"{n:,}", "counting rows", f"{count_seconds:.1f}", speed(n_rows, count_seconds), "", ""],
            [f"{n:,}", f"fitting one fold, {booster.num_trees()} trees", f"{fit_seconds:.1f}",
             speed(trained, fit_seconds), "", fit_peak],
            [f"{n:,}", "rating all rows", f"{rate_seconds:.1f}", speed(n_rows, rate_seconds),
             f"{n_rows / rate_seconds / bare:.2f} of bare LightGBM's", peak()]]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="the largest number (default: 20000)")
    parser.add_argument("--labels", type=int, default=1103, help="(default: 1103)")
    parser.add_argument("--models", type=int, default=8, help="(default: 8)")
    parser.add_argument("--rounds", type=int, default=200, help="trees of the booster (default: 200)")
    parser.add_argument("--max_rows", type=int, default=Draw.max_rows,
                        help=f"a booster is trained on (default: {Draw.max_rows})")
    parser.add_argument("--threads", type=int, default=0, help="of LightGBM; 0: all cores (default: 0)")
    o = parser.parse_args()
    rows = []
    for n in (o.images // 4, o.images // 2, o.images):
        rows += measure(n, o)
        print(*(" ".join(row) for row in rows[-5:]), sep="\n", file=sys.stderr)
    print_rows(["images", "part", "s", "rows/s", "of the limit's", "peak so far, GB"], rows)


if __name__ == "__main__":
    main()
