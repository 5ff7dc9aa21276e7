"""Every recipe names what exists; the networks of systems A, B, C and E train, save and load."""
import pathlib
import subprocess
import sys

import pytest

from jobs.options import parse
from models.backbones import resolve_backbone
from models.crnn import CONVOLUTIONS
from models.heads import HEADS
from models.necks import NECKS

RECIPES = sorted(str(path) for path in pathlib.Path("recipes").rglob("*.args")
                 if not path.name.startswith("pack"))


def options_of(recipe):
    return parse([f"@{recipe}", "--data_tfrec_dir=x", "--job=train"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_name_what_exists(recipe):
    options = options_of(recipe)
    if options.task == "text":
        assert options.backbone in CONVOLUTIONS
        return
    package, path, _ = resolve_backbone(options.backbone)
    if options.weights is not None:
        published = [name.replace("_", "-") for name in package.weight_names(path)]
        assert options.weights.replace("_", "-") in published
    assert options.head in HEADS and options.neck in NECKS


def test_every_published_system_has_its_recipes():
    names = {system: sorted(path.stem for path in pathlib.Path("recipes", system).glob("*.args")
                            if not path.name.startswith("pack"))
             for system in ("turtle", "imet", "cdiscount")}
    assert names == {
        "turtle": ["beitl", "ef1b7", "ef1l2", "ef1l2_second", "ef2l", "ef2xl"],
        "imet": ["pnasnet5", "resnet34", "senet154", "seresnext101", "seresnext50"],
        "cdiscount": ["densenet161", "densenet169", "dpn92", "inception_resnet_v2", "inception_v4",
                      "large224", "large299", "product2", "product3", "product4", "resnet101", "resnet152",
                      "resnet34", "resnet50", "text_boxes", "two_fc", "with_text", "words"]}


def networks():
    """A recipe of each different network of systems A, B, C and E."""
    found = {}
    for recipe in RECIPES:
        if pathlib.Path(recipe).parent.name in ("kuzushiji", "turtle", "imet", "cdiscount"):
            options = options_of(recipe)
            own = "--backbone=" in pathlib.Path(recipe).read_text()  # refinements have no network of their own
            if options.task == "classify" and own:
                found.setdefault((options.backbone, options.dim, options.n_channels, options.neck), recipe)
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", networks())
def test_networks_train_two_steps_save_and_load(recipe):
    """At the recipe's own input size; the most, 12.1 GB, is taken by EfficientNet-L2."""
    done = subprocess.run([sys.executable, "-m", "tests.two_steps", recipe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 20, "GB"
