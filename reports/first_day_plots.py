"""Plots of the first-day statistics (reports.first_day)."""
import numpy as np
from matplotlib.figure import Figure  # draws with Agg by itself: no display, no global state

from records.files import replaced
from reports.image_statistics import BINS, CHANNELS, RANGES

COLOURS = ("#2a6fb0", "#d2691e")  # of the set, and of the other
INK = "#404040"
MOST_TOGETHER = 40  # labels
MOST_TICKS = 60  # labels that are named under their counts
SIZE_BINS = 50


def draw_sizes(path, sets):
    """Histograms of heights, widths and aspect ratios, as shares of the images. sets: {name: int [n, 2]
    (width, height)}"""
    figure, axes = _figure(1, 3)
    of = {name: np.asarray(sizes, np.float64).reshape(-1, 2).T for name, sizes in sets.items()}
    for place, (title, values) in enumerate([
            ("height, px", {n: h for n, (w, h) in of.items()}),
            ("width, px", {n: w for n, (w, h) in of.items()}),
            ("aspect, width / height", {n: w / h for n, (w, h) in of.items()})]):
        together = np.concatenate(list(values.values()))
        if not len(together):
            continue
        low, high = together.min(), together.max()
        logarithmic = high > 20 * low  # one very long image would squeeze all the others into a bin
        edges = (np.geomspace if logarithmic else np.linspace)(low, max(high, low * 1.001), SIZE_BINS + 1)
        edges[0], edges[-1] = low, max(high, edges[-1])
        for colour, (name, own) in zip(COLOURS, values.items()):
            axes[place].hist(own, edges, weights=np.full(len(own), 1 / max(1, len(own))), color=colour,
                             alpha=0.6, label=name)
        if logarithmic:
            axes[place].set_xscale("log")
        _finish(axes[place], title, "share of the images")
    _save(figure, axes, path, len(sets))


def draw_channels(path, sets):
    """The pixels of each channel, as shares. sets: {name: int [channels, BINS], counts}"""
    figure, axes = _figure(2, 3)
    for channel, (title, full) in enumerate(zip(CHANNELS, RANGES)):
        middles = (np.arange(BINS) + 0.5) * full / BINS
        for colour, (name, counts) in zip(COLOURS, sets.items()):
            axes[channel].fill_between(middles, counts[channel] / max(1, counts[channel].sum()), step="mid",
                                       color=colour, alpha=0.6, linewidth=0, label=name)
        axes[channel].set_ylim(bottom=0)
        axes[channel].set_xlim(0, full)
        _finish(axes[channel], title + (", degrees" if full == 360 else ""), "share of the pixels")
    _save(figure, axes, path, len(sets))


def draw_labels(path, sets, per_record):
    """Label counts, most frequent first, on a log scale, and how many labels a record has.

    sets: {name: table of label_table}, all of the first's classes. per_record: {name: int [n]}."""
    names = next(iter(sets.values()))["label"].tolist()
    named = len(names) <= MOST_TICKS
    figure, axes = _figure(1, 2, (3, 1))
    for colour, (name, table) in zip(COLOURS, sets.items()):
        counts = table.set_index("label")["count"].reindex(names).fillna(0)
        axes[0].bar(np.arange(len(names)), counts, 0.9 if named else 1.0, color=colour, alpha=0.6, label=name)
    axes[0].set_yscale("symlog", linthresh=1)  # a label may have none
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlim(-0.5, max(len(names), 1) - 0.5)
    if named:
        axes[0].set_xticks(np.arange(len(names)), [_short(name) for name in names], rotation=90, fontsize=7)
    _finish(axes[0], f"{len(names)} labels, most frequent first", "records")
    most = max((int(own.max()) for own in per_record.values() if len(own)), default=0)
    for colour, (name, own) in zip(COLOURS, per_record.items()):
        counts = np.bincount(own, minlength=most + 1) / max(1, len(own))
        axes[1].bar(np.arange(most + 1), counts, 0.9, color=colour, alpha=0.6, label=name)
    axes[1].xaxis.get_major_locator().set_params(integer=True)
    _finish(axes[1], "labels of a record", "share of the records")
    _save(figure, axes, path, len(sets))


def draw_together(path, has, class_names):
    """How often the most frequent labels occur together, as the share of the row's records that also have
    the column's. has: of label_statistics.membership."""
    counts = np.asarray(has.sum(0)).ravel()
    chosen = np.argsort(-counts, kind="stable")[:MOST_TOGETHER]
    chosen = chosen[counts[chosen] > 0]
    part = has[:, chosen]
    both = (part.T @ part).toarray() / np.maximum(1, counts[chosen])[:, None]  # [k, k]
    np.fill_diagonal(both, np.nan)
    figure, axes = _figure(1, 1, size=(11, 10))
    shown = axes[0].imshow(both, cmap="viridis", vmin=0)
    names = [_short(class_names[k]) for k in chosen]
    axes[0].set_xticks(np.arange(len(names)), names, rotation=90, fontsize=7)
    axes[0].set_yticks(np.arange(len(names)), names, fontsize=7)
    axes[0].set_title(f"Of the records with the row's label, the share that has the column's "
                      f"({len(chosen)} most frequent labels)", color=INK, fontsize=10, loc="left")
    figure.colorbar(shown, ax=axes[0], shrink=0.7)
    with replaced(path) as beside:
        figure.savefig(beside, format="png")


def _short(name):
    return name if len(name) <= 32 else name[:31] + "…"


def _figure(rows, columns, widths=None, size=None):
    figure = Figure(figsize=size or (14, 4.2 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    return figure, list(axes.ravel())


def _finish(axes, title, y):
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.yaxis.grid(True, color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure, axes, path, n_sets):
    if n_sets > 1:
        axes[0].legend(frameon=False)
    with replaced(path) as beside:
        figure.savefig(beside, format="png")
