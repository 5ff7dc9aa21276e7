"""Which losses there are, and weighted sums of them as text; loads no TensorFlow, for the options."""
import math

from models.registry import did_you_mean

LOSS_NAMES = ("cross_entropy", "focal", "bce", "binary_focal", "lovasz_hinge")


def parse_loss(spec):
    """{name: weight} of "name:weight,name:weight"; a weight left out is 1.

    Raises ValueError for an unknown or double name, and a weight that is no positive number.
    """
    weights = {}
    for part in spec.split(","):
        name, colon, text = part.strip().partition(":")
        if name not in LOSS_NAMES:
            raise ValueError(f"no loss {name!r}{did_you_mean(name, LOSS_NAMES)} Known: "
                             f"{', '.join(LOSS_NAMES)}.")
        if name in weights:
            raise ValueError(f"loss {name!r} is named twice in {spec!r}; add its weights up")
        try:
            weights[name] = float(text) if colon else 1.0
        except ValueError:
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise ValueError(f"the weight of loss {name!r} is a number above 0, not {text!r} (in {spec!r})")
    return weights
