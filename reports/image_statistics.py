"""Running statistics of the pixels of many images, in RGB and HSV, and of their sizes."""
import cv2
import numpy as np
import pandas as pd

CHANNELS = ("red", "green", "blue", "hue", "saturation", "value")
RANGES = (1, 1, 1, 360, 1, 1)  # of each from 0 on: shares, and degrees of hue
BINS = 64
AT_ONCE = 1 << 20  # pixels
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Moments:
    """Mean, deviation and extremes of columns that come in parts, in float64.

    Parts are merged by Chan, Golub and LeVeque, 1979, so that no large sums are subtracted: the deviation
    is right even where it is small beside the mean.
    """

    def __init__(self, columns):
        self.count = 0
        self.mean, self.squares = np.zeros(columns), np.zeros(columns)  # squares: summed, about the mean
        self.least, self.most = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values):
        """values: [n, columns]."""
        values = np.asarray(values, np.float64)
        n = len(values)
        if n == 0:
            return
        mean = values.mean(0)
        apart, total = mean - self.mean, self.count + n
        self.squares += np.square(values - mean).sum(0) + np.square(apart) * (self.count * n / total)
        self.mean += apart * (n / total)
        self.count = total
        self.least = np.minimum(self.least, values.min(0))
        self.most = np.maximum(self.most, values.max(0))

    @property
    def std(self):
        """Of all values, not of a sample: divided by their number."""
        return np.sqrt(self.squares / max(1, self.count))


class PixelStatistics:
    """Of CHANNELS, in RANGES: moments, and counts in BINS equal parts. Every pixel counts once.

    Hue is an angle, whose mean and deviation are taken here as of any number; that of gray is 0. Memory:
    some 200 MB whatever the images, besides the image itself.
    """

    def __init__(self):
        self.moments = Moments(len(CHANNELS))
        self.counts = np.zeros((len(CHANNELS), BINS), np.int64)

    def add(self, image):
        """image: uint8 [h, w, 3], BGR."""
        pixels = np.ascontiguousarray(image).reshape(1, -1, 3)
        for start in range(0, pixels.shape[1], AT_ONCE):
            part = pixels[:, start:start + AT_ONCE].astype(np.float32) / 255
            values = np.concatenate([part[0, :, ::-1], cv2.cvtColor(part, cv2.COLOR_BGR2HSV)[0]], 1)
            self.moments.add(values)
            bins = (values * (BINS / np.array(RANGES, np.float32))).astype(np.int64).clip(0, BINS - 1)
            for channel, own in enumerate(bins.T):
                self.counts[channel] += np.bincount(own, minlength=BINS)

    def rows(self):
        """[(channel, statistic, value)]"""
        m = self.moments
        return [(name, statistic, values[k] if m.count else np.nan) for k, name in enumerate(CHANNELS)
                for statistic, values in (("mean", m.mean), ("std", m.std), ("min", m.least), ("max", m.most))]


def summary_rows(name, values):
    """[(name, statistic, value)] of numbers [n]: mean, std, min, max and QUANTILES; NaN where n is 0."""
    values = pd.Series(np.asarray(values, np.float64))
    return [(name, "mean", values.mean()), (name, "std", values.std(ddof=0)), (name, "min", values.min()),
            (name, "max", values.max())] + [(name, f"q{q:g}", values.quantile(q)) for q in QUANTILES]


def size_rows(sizes):
    """[(what, statistic, value)] of sizes, int [n, 2] (width, height), px; aspect: width / height."""
    width, height = np.asarray(sizes, np.float64).reshape(-1, 2).T
    return (summary_rows("height", height) + summary_rows("width", width) +
            summary_rows("aspect", width / height))
