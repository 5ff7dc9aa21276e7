"""Horizontal bars with names, as a picture."""
import numpy as np
from matplotlib.figure import Figure  # draws with Agg by itself: no display, no global state

from records.files import replaced

BAR, SPREAD, INK = "#2a6fb0", "#1a1a1a", "#404040"
ROW, EDGES = 0.24, 1.3  # inches: height of a bar's row, of title and axis together


def draw_bars(path, names, lengths, title, axis, spread=None):
    """Writes a PNG with a bar for each of `names`, the first on top.

    lengths: float [n]. title, axis: what stands above, and below. spread: float [2, n], how far each
    reaches below and above; None: no whiskers.
    """
    figure = Figure(figsize=(8, EDGES + ROW * len(names)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    axes.barh(rows, lengths, height=0.7, color=BAR, xerr=spread, ecolor=SPREAD, capsize=2,
              error_kw={"linewidth": 0.9})
    axes.set_yticks(rows, names, color=INK, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(axis, color=INK)
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.xaxis.grid(True, color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    with replaced(path) as beside:
        figure.savefig(beside, format="png")
