"""The options of run.py that say how training images are augmented."""
import argparse
import math

from arguments import number

MIXES = ("mixup", "cutmix", "ricap", "icap")


def add_augmentation(parser):
    augment = parser.add_argument_group("augmentation of training images (0 is off)")
    augment.add_argument("--augment_on", choices=["host", "device"], default="host",
                         help="host: beside the training, by the CPU; device: in the training step, "
                              "for accelerators that wait for their host (8-bit images go over)")
    for name, low, high, what in (
            ("rotate", 0, 180, "degrees, each way"),
            ("scale", 0, 0.9, "larger or smaller by up to this share"),
            ("brightness", 0, 1, "factor 1 +- this"),
            ("contrast", 0, 1, "factor 1 +- this, about the image's mean gray"),
            ("saturation", 0, 1, "factor 1 +- this"),
            ("hue", 0, 0.5, "turns of the colour circle, each way"),
            ("gray", 0, 1, "probability of turning gray"),
            ("pca", 0, 1, "standard deviation of the amounts of ImageNet's principal colours that "
                          "are added (lighting noise)"),
            ("rgb_shift", 0, 1, "added to each channel, each way, as a share of white"),
            ("gamma", 0, 4, "exponent between 1 / (1 + this) and 1 + this"),
            ("noise", 0, 1, "largest standard deviation of Gaussian noise, as a share of white"),
            ("blur", 0, 10, "largest sigma of Gaussian blur, px"),
            ("clahe", 0, 1, "probability of CLAHE (local equalisation of contrast)")):
        augment.add_argument(f"--{name}", type=number(float, low, high), default=0.0, help=what)
    augment.add_argument("--affine_p", type=_share, default=1.0,
                         help="probability of --rotate, --scale, --shear and --shift together")
    augment.add_argument("--colour_p", type=_share, default=1.0,
                         help="probability of each of brightness, contrast, saturation, hue, pca, "
                              "rgb_shift, gamma, noise and blur")


def add_geometry(parser):
    augment = parser.add_argument_group("augmentation of --task=classify, multilabel and text")
    augment.add_argument("--shear", type=number(float, 0, 60), default=0.0,
                         help="degrees, each way")
    augment.add_argument("--shift", type=number(float, 0, 1), default=0.0,
                         help="share of the side, each way")
    augment.add_argument("--resample", choices=["bilinear", "bicubic"], default="bilinear",
                         help="of the one resampling of all geometry; bicubic takes five times as long")
    return augment


def add_augmentation_classify(parser):
    augment = parser.add_argument_group("augmentation of --task=classify and multilabel")
    augment.add_argument("--rrc_scale", type=_range, default=(1.0, 1.0), metavar="LOW,HIGH",
                         help="random resized crop: share of the area (system A: 0.85,0.9; "
                              "default: 1,1, no crop)")
    augment.add_argument("--rrc_ratio", type=_range, default=(1.0, 1.0), metavar="LOW,HIGH",
                         help="random resized crop: width over height (system A: 0.875,1.143; "
                              "default: 1,1)")
    augment.add_argument("--rrc_place", choices=["random", "centre"], default="random",
                         help="where the crop lies; centre is for a fixed view (system A's refinement)")
    for name, what in (("hflip", "a flip left to right"), ("vflip", "a flip upside down"),
                       ("quarter_turns", "a turn by 90, 180 or 270 degrees"),
                       ("aug_percentage", "one of Turtle Recall's nine: two flips, quarter turns, "
                                          "45-degree turns of the middle 0.7")):
        augment.add_argument(f"--{name}", type=_share, default=0.0, help=f"probability of {what}")
    augment.add_argument("--aug_number", type=number(int, 1, 9), default=9, metavar="N",
                         help="of the nine, the first N are drawn from")
    augment.add_argument("--policy", choices=["none", "randaugment", "trivial"], default="none",
                         help="RandAugment or TrivialAugment, besides all else")
    augment.add_argument("--policy_ops", type=number(int, 1, 14), default=2,
                         help="randaugment: changes of each image")
    augment.add_argument("--policy_magnitude", type=number(int, 0, 30), default=9,
                         help="randaugment: 0 to 30")
    for kind, what in (("mixup", "blends two images"), ("cutmix", "pastes a box of another image"),
                       ("ricap", "patches random crops of four images"),
                       ("icap", "patches four images, each keeping its place")):
        augment.add_argument(f"--{kind}", type=number(float, 0, 100), default=0.0,
                             help=f"{what}: concentration of the Beta distribution")
        augment.add_argument(f"--{kind}_p", type=_share,
                             help="its probability (default: shared equally by those without one)")
    augment.add_argument("--mix_per", choices=["image", "batch"], default="image",
                         help="images are mixed each in its own way, or all of a batch alike")
    augment.add_argument("--erase", type=_share, default=0.0,
                         help="probability of RandomErasing (area 0.02-0.4, aspect 0.3-3.33)")
    augment.add_argument("--cutout_holes", type=number(int, 0, 16), default=0,
                         help="Cutout: square holes in every image")
    augment.add_argument("--cutout_size", type=number(float, high=1, above=0), default=0.5,
                         help="Cutout: side of a hole as a share of the image's")
    return augment


def check(parser, options):
    """Refuses what does not go together, and what would be ignored."""
    for needed, ignored, reason in (
            (options.policy == "randaugment", ["policy_ops", "policy_magnitude"],
             "is of --policy=randaugment"),
            (options.cutout_holes, ["cutout_size"], "is of --cutout_holes"),
            (options.aug_percentage, ["aug_number"], "is of --aug_percentage"),
            (any(getattr(options, kind) for kind in MIXES), ["mix_per"], "needs images that are mixed"),
            (options.cache == "auto", ["cache_gb"], "is of --cache=auto"),
            (options.cache == "file", ["cache_dir"], "is of --cache=file")):
        for name in ignored:
            if not needed and getattr(options, name) != parser.get_default(name):
                parser.error(f"--{name} {reason}")
    for kind in MIXES:
        if getattr(options, f"{kind}_p") is not None and not getattr(options, kind):
            parser.error(f"--{kind}_p needs --{kind}, its concentration, such as 1.0")
    given = sum(getattr(options, f"{kind}_p") or 0 for kind in MIXES)
    unsaid = [kind for kind in MIXES if getattr(options, kind)
              and getattr(options, f"{kind}_p") is None]
    if given > 1 + 1e-6:
        parser.error(f"the probabilities of mixing add up to {given:g}: at most 1")
    if given > 1 - 1e-6 and unsaid:
        parser.error(f"the probabilities of mixing add up to 1, which leaves nothing for --{unsaid[0]}")


_share = number(float, 0, 1)


def _range(text):
    parts = text.split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH") from None
    if not (0 < low <= high and math.isfinite(high)):
        raise argparse.ArgumentTypeError(f"{text!r}: it must be 0 < LOW <= HIGH")
    return low, high
