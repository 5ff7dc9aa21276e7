"""mixup, CutMix, RICAP and ICAP of a batch: which image is shown where, and the targets of that.

The last three paste rectangles and are one thing here: a window parts the image into four regions,
each of which shows one image of the batch.
Partners are the next images of the batch: the records come in a random order already, so that a
roll is a random choice. (Zhang et al. 2018, Yun et al. 2019, Takahashi et al. 2018; ICAP is RICAP
with every quadrant cut from its own place.)
"""
import dataclasses

import numpy as np
import tensorflow as tf

from pipeline.randomness import beta, uniform

KINDS = ("mixup", "cutmix", "ricap", "icap")
# Of each kind, and last of none: how many images further on is what each region shows. The regions
# are those of draw_mixing: RICAP's and ICAP's own image is in the upper left.
SOURCES = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [3, 2, 1, 0], [3, 2, 1, 0], [0, 0, 0, 0]], np.int32)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """mixup, cutmix, ricap, icap: concentration of each one's Beta distribution, 0: not used. *_p:
    its probability; None: those without share equally what the others leave. per: "image", each
    drawn its own kind and amounts, or "batch", all the same."""
    mixup: float = 0.0
    cutmix: float = 0.0
    ricap: float = 0.0
    icap: float = 0.0
    mixup_p: float | None = None
    cutmix_p: float | None = None
    ricap_p: float | None = None
    icap_p: float | None = None
    per: str = "image"

    def __post_init__(self):
        if self.per not in ("image", "batch"):
            raise ValueError(f"mixing is drawn per 'image' or per 'batch', not per {self.per!r}")
        for kind in KINDS:
            concentration, p = getattr(self, kind), getattr(self, f"{kind}_p")
            if concentration < 0:
                raise ValueError(f"{kind}={concentration}, but a concentration is above 0 (0: not used)")
            if p is not None and not 0 <= p <= 1:
                raise ValueError(f"{kind}_p={p}, but a probability lies in 0..1")
            if p is not None and not concentration:
                raise ValueError(f"{kind}_p={p}, but {kind} is not used: give {kind} a concentration")
        given, free = self._shares()
        if given > 1 + 1e-6:
            raise ValueError(f"the probabilities of mixing add up to {given:g}; at most 1 is possible")
        if free and given > 1 - 1e-6:
            raise ValueError(f"the other probabilities leave nothing for {', '.join(free)}: "
                             "lower them, or drop it")

    def _shares(self):
        """The sum of the probabilities given, and the kinds that share the rest."""
        given = sum(getattr(self, f"{kind}_p") or 0 for kind in KINDS)
        return given, [kind for kind in KINDS
                       if getattr(self, kind) and getattr(self, f"{kind}_p") is None]

    def probabilities(self):
        """Of each of KINDS; what they leave of 1 is the probability of none."""
        given, free = self._shares()
        return tuple((1 - given) / len(free) if kind in free else getattr(self, f"{kind}_p") or 0.0
                     for kind in KINDS)


def draw_mixing(seed, n, size, options):
    """The plan of n square images of `size` px, a dict of tensors; what is not used is not in it.

    share: float32 [n], the image's own share in mixup (1: not mixed up). window: int32 [n, 4],
    x0 y0 x1 y1 px. A pixel lies in region in_x + 2 * in_y, in_x being x0 <= x < x1 and in_y
    likewise. source: int32 [n, 4], how many images further on each region's image is. shift: int32
    [n, 4, 2] px, region r's pixel (x, y) shows (x, y) + shift[r] of that image.

    mixup: own share ~ Beta(a, a). CutMix: a square of area 1 - Beta(a, a) about a uniform centre,
    clipped. RICAP, ICAP: split at Beta(a, a) of each side; RICAP crops each quadrant anywhere in
    its image. All ends are rounded to whole pixels.
    """
    p = dict(zip(KINDS, options.probabilities()))
    drawn = n if options.per == "image" else 1
    kind = tf.searchsorted(tf.cumsum(tf.constant(list(p.values()))),
                           uniform(seed, "mixing", [drawn]), side="right")  # 4: none of them

    def only(name, values, others):
        mine = tf.reshape(kind == KINDS.index(name), [-1] + [1] * (len(values.shape) - 1))
        return tf.where(mine, values, others)
    plan = {}
    if p["mixup"]:
        plan["share"] = only("mixup", beta(seed, "mixup", [drawn], options.mixup), 1.0)
    window = tf.zeros([drawn, 4])
    if p["cutmix"]:
        side = size * tf.sqrt(1 - beta(seed, "cutmix", [drawn, 1], options.cutmix))
        centre = uniform(seed, "cutmix centre", [drawn, 2], 0, size)
        ends = tf.concat([centre - side / 2, centre + side / 2], axis=1)
        window = only("cutmix", tf.clip_by_value(tf.round(ends), 0, size), window)
    for name in ("ricap", "icap"):
        if p[name]:
            split = tf.round(size * beta(seed, name, [drawn, 2], getattr(options, name)))
            window = only(name, tf.pad(split, [[0, 0], [2, 0]]), window)  # from the corner to it
    if p["cutmix"] or p["ricap"] or p["icap"]:
        plan["window"] = tf.cast(window, tf.int32)
        plan["source"] = tf.gather(SOURCES, kind)
    if p["ricap"]:
        split = window[:, None, 2:]
        before = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)  # the split, of regions in x and y
        spare = tf.where(before, size - split, split)  # [drawn, 4, 2], that a crop can move
        place = tf.floor(uniform(seed, "ricap place", [drawn, 4, 2]) * (spare + 1))
        shift = only("ricap", place - tf.where(before, 0.0, split), 0.0)
        plan["shift"] = tf.cast(shift, tf.int32)
    return {name: tf.repeat(values, n // drawn, axis=0) for name, values in plan.items()}


def mix_images(images, plan, groups=1):
    """images: uint8 or float [n, size, size, c] or [n, size, size * c]. Returns float32, same scale.

    groups: the batch consists of so many equal consecutive groups, one of each replica, and
    partners are of the own group: i + source, modulo the group's size. Whole rows of pixels and
    channels make long inner loops for XLA: on a CPU that is many times as quick.
    """
    n, size = images.shape[:2]
    rows = tf.reshape(images, [n, size, -1])
    width = rows.shape[2]  # size * c
    mixed = rows
    if "window" in plan:
        x0, y0, x1, y1 = tf.split(plan["window"], 4, axis=1)  # [n, 1]
        x, y = tf.range(width) // (width // size), tf.range(size)
        inside_x = ((x >= x0) & (x < x1))[:, None, :]
        inside_y = ((y >= y0) & (y < y1))[:, :, None]
        partners = _partners(n, plan["source"], groups)

        def by_region(values):
            return tf.where(inside_y, tf.where(inside_x, values[3], values[2]),
                            tf.where(inside_x, values[1], values[0]))
        if "shift" in plan:
            shift = plan["shift"][..., 1] * width + plan["shift"][..., 0] * (width // size)
            first = partners * (size * width) + shift  # what (0, 0) of the image would show
            place = tf.reshape(tf.range(size * width), [size, width])
            shown = by_region([first[:, r, None, None] for r in range(4)]) + place
            mixed = tf.gather(tf.reshape(rows, [-1]), shown)
        else:  # whole images are gathered, four times as quickly as pixels are
            mixed = by_region([tf.gather(rows, partners[:, r]) for r in range(4)])
    mixed = tf.cast(mixed, tf.float32)
    if "share" in plan:
        share = plan["share"][:, None, None]
        other = tf.gather(rows, _partners(n, 1, groups)[:, 0])
        mixed = share * mixed + (1 - share) * tf.cast(other, tf.float32)
    return tf.reshape(mixed, images.shape)


def mix_targets(targets, plan, size, groups=1):
    """The images' targets mixed by what is shown of each image, counted in pixels.

    targets: float32 [n, k], one-hot, soft or multi-hot. size: of the images, px. Returns the same.
    """
    n, mixed = targets.shape[0], targets
    if "window" in plan:
        wide, high = tf.unstack(plan["window"][:, 2:] - plan["window"][:, :2], axis=1)
        pixels = tf.stack([(size - wide) * (size - high), wide * (size - high),
                           (size - wide) * high, wide * high], axis=1)  # [n, 4], by region
        pixels = tf.cast(pixels, tf.float32)
        partners = _partners(n, plan["source"], groups)
        mixed = tf.add_n([pixels[:, r, None] * tf.gather(targets, partners[:, r]) for r in range(4)])
        mixed /= size**2  # at last, so that counts of one-hot targets are exact
    if "share" in plan:
        share = plan["share"][:, None]
        mixed = share * mixed + (1 - share) * tf.gather(targets, _partners(n, 1, groups)[:, 0])
    return mixed


def _partners(n, source, groups):
    """Numbers [n, r] of the images `source` further on in their groups. source: int32 [n, r], or 1."""
    group, image = n // groups, tf.range(n)[:, None]
    return image // group * group + (image + source) % group
