"""The augmentation that the options of a run ask for."""
from pipeline.augmentation import Augmentation
from pipeline.colour import Colour
from pipeline.erasing import Erasing
from pipeline.filters import Filters
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing
from pipeline.rand_augment import Policy

COLOUR_ONLY = ("saturation", "hue", "gray", "pca", "rgb_shift")  # nothing in images of one channel


def augmentation(o):
    """o: options of run.py, of either task. Raises ValueError for what does not go together."""
    take = lambda *names: {name: getattr(o, name) for name in names}
    return Augmentation(
        Geometry(rrc_centred=o.rrc_place == "centre", cubic=o.resample == "bicubic", nine=o.aug_percentage,
                 nine_of=o.aug_number, **take("rotate", "shear", "scale", "shift", "affine_p", "rrc_scale",
                                              "rrc_ratio", "hflip", "vflip", "quarter_turns")),
        Policy(o.policy, o.policy_ops, o.policy_magnitude),
        Filters(p=o.colour_p, **take("blur", "noise", "clahe")),
        Colour(p=o.colour_p, **take("brightness", "contrast", "saturation", "hue", "gray", "pca",
                                    "rgb_shift", "gamma")),
        Mixing(per=o.mix_per, **take(*(f"{kind}{end}" for kind in ("mixup", "cutmix", "ricap", "icap")
                                       for end in ("", "_p")))),
        Erasing(p=o.erase, holes=o.cutout_holes, hole_size=o.cutout_size))
