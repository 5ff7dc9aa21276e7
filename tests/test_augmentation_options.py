"""What run.py's options make of the augmentation: every one arrives, in its own place."""
import argparse
import pathlib
import re

import pytest

from jobs import options
from jobs.augmentation import augmentation
from jobs.augmentation_options import add_augmentation, add_augmentation_classify, add_geometry
from pipeline.augmentation import Augmentation
from pipeline.colour import Colour
from pipeline.erasing import Erasing
from pipeline.filters import Filters
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing
from pipeline.rand_augment import Policy

RECIPES = pathlib.Path(__file__).parents[1] / "recipes"
TRAINED = [path for path in sorted(RECIPES.glob("*/*.args")) if not path.name.startswith("pack")]
# No two values are the same, so that none can take another's place.
BOTH = ["--rotate=31", "--scale=0.32", "--affine_p=0.33", "--brightness=0.34", "--contrast=0.35",
        "--saturation=0.36", "--hue=0.37", "--gray=0.38", "--pca=0.39", "--rgb_shift=0.40",
        "--gamma=0.41", "--noise=0.42", "--blur=0.43", "--clahe=0.44", "--colour_p=0.45"]
FILTERS = Filters(blur=0.43, noise=0.42, p=0.45, clahe=0.44)
COLOUR = Colour(p=0.45, brightness=0.34, contrast=0.35, saturation=0.36, hue=0.37, gray=0.38,
                pca=0.39, rgb_shift=0.40, gamma=0.41)
CLASSIFY = ["--shear=46", "--shift=0.47", "--rrc_scale=0.48,0.49", "--rrc_ratio=0.50,0.51", "--rrc_place=centre",
            "--hflip=0.52", "--vflip=0.53", "--quarter_turns=0.54", "--aug_percentage=0.55", "--aug_number=4",
            "--resample=bicubic", "--policy=randaugment", "--policy_ops=3", "--policy_magnitude=11",
            "--mixup=0.56", "--cutmix=0.57", "--ricap=0.58", "--icap=0.59", "--mixup_p=0.11",
            "--cutmix_p=0.12", "--ricap_p=0.13", "--icap_p=0.14", "--mix_per=batch", "--erase=0.60",
            "--cutout_holes=5", "--cutout_size=0.61"]


def parsed(*arguments):
    return augmentation(options.parse(["--data_tfrec_dir=store", "--job=train", *arguments]))


def names(add):
    """The options that `add` adds to a parser."""
    parser = argparse.ArgumentParser(add_help=False)
    add(parser)
    return {name for action in parser._actions for name in action.option_strings}


def test_the_options_below_are_all_there_are():
    given = [{option.split("=")[0] for option in group} for group in (BOTH, CLASSIFY)]
    assert given[0] == names(add_augmentation) - {"--augment_on"}
    assert given[1] == names(add_augmentation_classify) | names(add_geometry)


def test_every_option_of_classify_arrives():
    assert parsed(*BOTH, *CLASSIFY) == Augmentation(
        Geometry(rotate=31, shear=46, scale=0.32, shift=0.47, rrc_scale=(0.48, 0.49),
                 rrc_ratio=(0.50, 0.51), rrc_centred=True, affine_p=0.33, hflip=0.52, vflip=0.53, quarter_turns=0.54,
                 nine=0.55, nine_of=4, cubic=True),
        Policy("randaugment", 3, 11), FILTERS, COLOUR,
        Mixing(mixup=0.56, cutmix=0.57, ricap=0.58, icap=0.59, mixup_p=0.11, cutmix_p=0.12,
               ricap_p=0.13, icap_p=0.14, per="batch"),
        Erasing(p=0.60, holes=5, hole_size=0.61))


def test_every_option_of_detect_arrives():
    assert parsed("--task=detect", *BOTH) == Augmentation(
        Geometry(rotate=31, scale=0.32, affine_p=0.33), filters=FILTERS, colour=COLOUR)


@pytest.mark.parametrize("option", CLASSIFY)
def test_detect_refuses_what_is_only_of_classify(option, capsys):
    with pytest.raises(SystemExit):
        parsed("--task=detect", option)
    assert f"{option.split('=')[0]} goes with --task=classify" in capsys.readouterr().err


def test_by_default_nothing_changes():
    assert parsed() == Augmentation()
    assert parsed("--task=detect") == Augmentation(
        Geometry(affine_p=0.9), filters=Filters(p=0.5), colour=Colour(p=0.5))
    assert parsed("--policy=trivial").policy.kind == "trivial"


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_recipes_build_their_augmentation(path):
    # Some go on from another, which their own command has before them.
    before = re.findall(rf"@(\S+) @{path.relative_to(RECIPES.parent)}", path.read_text())
    assert parsed(*[f"@{RECIPES.parent / other}" for other in before], f"@{path}") != Augmentation(), "it augments"


def test_model_04_of_system_a_is_augmented_as_published():
    assert parsed(f"@{RECIPES / 'kuzushiji' / '04_seresnext101_rgb112_icap.args'}") == Augmentation(
        Geometry(rotate=5, rrc_scale=(0.85, 0.90), rrc_ratio=(0.875, 1.143)),
        colour=Colour(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.125, pca=0.125, gray=0.2),
        mixing=Mixing(icap=1.0, icap_p=0.5),
        erasing=Erasing(0.5, area=(0.02, 0.4), ratio=(0.3, 3.33)))


def test_system_d_turns_and_scales_its_pages_as_published():
    made = parsed(f"@{RECIPES / 'kuzushiji' / 'centernet_resnet101d.args'}")
    assert made.geometry == Geometry(rotate=10, scale=0.2, affine_p=0.9)
    # Its amounts of colour are not published, but which changes there are.
    assert all([made.colour.gray, made.colour.brightness, made.colour.contrast, made.colour.gamma,
                made.colour.rgb_shift, made.colour.hue, made.colour.saturation, made.filters.clahe,
                made.filters.noise, made.filters.blur])
