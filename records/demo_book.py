"""The books of the demo pages: each has its own hand, paper and layout, drawn from its number alone."""
from dataclasses import dataclass

import numpy as np

from records.demo_brush import Hand

PAPERS = (  # blue, green, red of clean paper
    (174, 220, 238), (160, 206, 230), (176, 213, 232), (146, 192, 222), (182, 218, 236), (158, 206, 234))
INKS = ((58, 62, 64), (44, 48, 52), (52, 58, 66), (70, 76, 80), (38, 40, 44))  # blue, green, red


@dataclass(frozen=True)
class Paper:
    """Look of the paper and of its scan; strengths are 0..1."""
    colour: tuple         # blue, green, red, 0..255
    fibres: float
    laid: float           # strength of the mould's fine parallel lines
    stains: float
    foxing: float
    worms: float
    shine: float          # of the text on the other side
    surround: bool        # the scan shows the table round the book


@dataclass(frozen=True)
class Layout:
    """Places on the page; lengths in px."""
    height: int
    width: int
    text: tuple           # x0, y0, x1, y1 of the area of the text
    rows: int             # characters in a full column
    size: float           # of a character
    column_pitch: float
    columns: int
    frame: int            # 0 none, 1 a single, 2 a double line
    rules: bool           # thin lines between the columns
    ruby: float           # 0..1, share of characters with a small reading beside them


@dataclass(frozen=True)
class Book:
    """A book: title (the first part of its pages' ids), hand, ink, paper, layout."""
    title: str
    hand: Hand
    ink: tuple            # blue, green, red
    paper: Paper
    layout: Layout


def make_book(seed, number, page_height):
    """Book `number` (0, 1, …) of the set with this seed; `page_height` in px, books vary around it."""
    rng = np.random.default_rng([seed, 1, number])
    return Book(title=f"{900000001 + number}",
                hand=_hand(rng, seed * 1000003 + number),
                ink=INKS[rng.integers(len(INKS))],
                paper=_paper(rng),
                layout=_layout(rng, page_height))


def _hand(rng, seed):
    return Hand(seed=seed,
                width=rng.uniform(0.042, 0.058), contrast=rng.uniform(0.25, 0.55),
                slant=rng.uniform(-0.04, 0.14), rise=rng.uniform(0.0, 0.12),
                aspect=rng.uniform(0.78, 1.0),
                habit=rng.uniform(0.035, 0.05), wobble=rng.uniform(0.02, 0.032),
                cursive=rng.uniform(2.0, 5.5), taper=rng.uniform(0.5, 0.95),
                run_on=rng.uniform(0.15, 0.6), link=float(rng.choice([0.08, 0.2, 0.35])),
                dry=rng.uniform(0.1, 0.5), kana=rng.uniform(0.8, 0.95))


def _paper(rng):
    colour = np.array(PAPERS[rng.integers(len(PAPERS))]) + rng.normal(0, 4) + rng.normal(0, 1.0, 3)
    return Paper(colour=tuple(float(c) for c in colour),
                 fibres=rng.uniform(0.3, 1.0), laid=float(rng.choice([0.0, 0.0, 0.6])),
                 stains=rng.uniform(0.1, 0.8), foxing=rng.uniform(0.0, 0.7),
                 worms=float(rng.choice([0.0, 0.0, 0.6])), shine=rng.uniform(0.1, 0.8),
                 surround=bool(rng.random() < 0.6))


def _layout(rng, page_height):
    height = round(page_height * rng.uniform(0.94, 1.06))
    width = round(height * rng.uniform(0.64, 0.72))
    ruby = float(rng.choice([0.0, 0.15, 0.4]))
    top = height * rng.uniform(0.10, 0.17)
    bottom = height * rng.uniform(0.93, 0.95)
    left, right = width * rng.uniform(0.10, 0.12), width * rng.uniform(0.87, 0.90)
    rows = int(rng.integers(18, 24))
    size = 0.88 * (bottom - top) / rows
    pitch = size * ((1.58 if ruby else 1.3) + rng.uniform(0, 0.15))
    columns = int((right - left) / pitch)
    return Layout(height=height, width=width,
                  text=tuple(round(v) for v in (left, top, right, bottom)),
                  rows=rows, size=size, column_pitch=(right - left) / columns, columns=columns,
                  frame=int(rng.choice([0, 1, 2])), rules=bool(rng.random() < 0.3), ruby=ruby)
