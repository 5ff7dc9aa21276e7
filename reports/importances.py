"""What a set of boosters goes by: a bar chart of feature importances, for people."""
import numpy as np

from reports.bars import draw_bars


def draw_importances(path, importances, names, most=30, title="Importance of the features"):
    """Writes a PNG with a bar for each of the `most` features that gain most, best on top.

    importances: float [boosters, features], each feature's share of a booster's gain, 0..1, as of
    inference.false_positives. A bar is the mean over the boosters, its whisker the least and the most.
    names: [features].
    """
    importances = np.asarray(importances, np.float64)
    if importances.ndim != 2 or importances.shape[1] != len(names) or not importances.size:
        raise ValueError(f"importances must have a row for each booster and a column for each of the "
                         f"{len(names)} features, got the shape {importances.shape}")
    mean = importances.mean(0) * 100
    order = np.argsort(-mean, kind="stable")[:most]
    spread = np.abs(np.stack([importances.min(0), importances.max(0)]) * 100 - mean)[:, order]
    rest, others = mean.sum() - mean[order].sum(), len(names) - len(order)
    draw_bars(path, [names[k] for k in order], mean[order],
              title + (f"; {others} others: {rest:.1f} %" if others else ""),
              f"share of the gain, % (mean, least and most of {len(importances)} boosters)", spread)
