"""What a set of boosters goes by: a bar chart of feature importances, for people."""
import numpy as np
from matplotlib.figure import Figure  # draws with Agg by itself: no display, no global state

from records.files import replaced

BAR, SPREAD, INK = "#2a6fb0", "#1a1a1a", "#404040"
ROW, EDGES = 0.24, 1.3  # inches: height of a bar's row, of title and axis together


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
    figure = Figure(figsize=(8, EDGES + ROW * len(order)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(order))
    axes.barh(rows, mean[order], height=0.7, color=BAR, xerr=spread, ecolor=SPREAD, capsize=2,
              error_kw={"linewidth": 0.9})
    axes.set_yticks(rows, [names[k] for k in order], color=INK, fontsize=9)
    axes.set_ylim(len(order) - 0.4, -0.6)  # best on top
    axes.set_xlim(left=0)
    axes.set_xlabel(f"share of the gain, % (mean, least and most of {len(importances)} boosters)",
                    color=INK)
    rest = 100 * importances.mean(0).sum() - mean[order].sum()
    others = len(names) - len(order)
    axes.set_title(title + (f"; {others} others: {rest:.1f} %" if others else ""), color=INK,
                   fontsize=11, loc="left")
    axes.xaxis.grid(True, color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    with replaced(path) as beside:
        figure.savefig(beside, format="png")
