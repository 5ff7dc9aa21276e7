"""Horizontal bars with names, as a picture."""
from matplotlib.figure import Figure  # draws with Agg by itself: no display, no global state

from records.files import replaced


def draw_bars(path, names, lengths, title, spread=None):
    """Writes a PNG. names: list of str, the first on top; lengths: float [n]; spread: float [n], drawn
    as a line each way."""
    figure = Figure(figsize=(7, 0.8 + 0.25 * len(names)), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(names)), lengths, xerr=spread, color="#4878a8", ecolor="#333333")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    with replaced(path) as beside:
        figure.savefig(beside, format="png")
