"""The second profile (requirements-addons.txt): chosen without TensorFlow, set up apart, trains."""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

import create_tfrecords
from records import demo_pages
from reports import lettering
from reports.page_overlay import RIGHT, draw_page
from tests.helpers import make_classes, run_module

ROOT = pathlib.Path(__file__).parents[1]
CHOSEN = "import keras2, os; print(os.environ.get('TF_USE_LEGACY_KERAS'))"


def keras2_beside(folder, package, version, code=CHOSEN):
    """Imports keras2 where only this package is installed (-S: no others)."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": f"{ROOT}:{folder}", "TF_USE_LEGACY_KERAS": "0"})


@pytest.mark.parametrize("package, version, chosen", [
    ("tensorflow", "2.15.1", "None"), ("tensorflow-cpu", "2.9.0", "None"),
    ("tensorflow", "2.16.0rc0", "1"), ("tensorflow-tpu", "2.20.0", "1"),
    ("tensorflow", "3.0.0", "1")])
def test_keras_2_is_chosen_by_the_installed_version(tmp_path, package, version, chosen):
    assert keras2_beside(tmp_path, package, version).stdout == chosen + "\n"


def test_without_tensorflow_it_is_said(tmp_path):
    assert "run_training.sh sets up" in keras2_beside(tmp_path, "numpy", "1.0").stderr


def test_a_tensorflow_imported_before_the_choice_is_refused(tmp_path):
    code = f"import sys; sys.modules['tensorflow'] = sys; {CHOSEN}"
    assert "imported before" in keras2_beside(tmp_path, "tensorflow", "2.21.0", code).stderr


def test_it_is_set_up_beside_the_main_environment_by_a_python_that_it_has(tmp_path):
    """`python` here only answers for a version; making the environment is what it cannot do."""
    for file in (*ROOT.glob("requirements*.txt"), ROOT / "scripts" / "environment.sh"):
        shutil.copy(file, tmp_path)
    (tmp_path / ".venv").mkdir()
    python = tmp_path / "python"

    def set_up(version, requirements):
        python.write_text(f"""#!/bin/sh
        case "$*" in
          "-c "*) exec {sys.executable} -c "import sys; sys.version_info = {version}; $2" ;;
          *) echo "called with $*" >&2; exit 1 ;;
        esac""")
        python.chmod(0o755)
        return subprocess.run(["bash", "-euc", "source environment.sh"], capture_output=True, text=True,
                              cwd=tmp_path, env=os.environ | {"BASE_PYTHON": "./python",
                                                              "REQUIREMENTS": requirements})
    for version in ((3, 9, 0), (3, 12, 0)):
        refused = set_up(version, "requirements-addons.txt")
        assert refused.returncode == 69
        assert "requirements-addons.txt needs Python 3.10 to 3.11" in refused.stderr
    for version in ((3, 10, 0), (3, 11, 7)):
        assert "called with -m venv .venv-addons" in set_up(version, "requirements-addons.txt").stderr
    assert (tmp_path / ".venv").is_dir()
    assert "called with -m venv .venv\n" in set_up((3, 12, 0), "requirements.txt").stderr


def test_demo_pages_say_that_they_need_opencv_5(tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    with pytest.raises(SystemExit, match="rendering demo pages needs OpenCV 5, and this is .*: render them in"):
        demo_pages.main([f"--out_dir={tmp_path / 'pages'}"])
    assert not any(tmp_path.iterdir())


def test_pictures_are_drawn_without_text_where_opencv_has_no_typeface(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lettering, "FACE", None)
    lettering._say_there_is_no_text.cache_clear()
    for name in "ab":
        draw_page(tmp_path / name, np.full((1400, 1400, 3), 255, np.uint8), [[100, 200, 80, 90]], ["U+3042"],
                  [True])
    drawn = cv2.imread(str(tmp_path / "b"))
    painted = (drawn != 255).any(2)
    assert tuple(drawn[200, 140]) == RIGHT and not painted[150:1400, 190:].any()
    assert capsys.readouterr().out.count("without their text, which needs OpenCV 5") == 1


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow_addons"),
                    reason="tensorflow-addons is of the second profile (requirements-addons.txt)")
def test_an_optimizer_of_tensorflow_addons_trains(tmp_path):
    make_classes(tmp_path / "set", per_class=16)
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                           f"--out_dir={tmp_path / 'store'}", "--channels=1", "--workers=1",
                           r"--group_regex=_(\d)\.png$", "--val_split=last=3"])
    done = run_module("run.py", f"--data_tfrec_dir={tmp_path / 'store'}", "--split=last", "--lr=0.01",
                      "--backbone=wide_resnet10_2", "--n_epochs=6", "--batch_size=12",
                      "--optimizer=tfa:LAMB", f"--run_dir={tmp_path / 'run'}", "--job=train,val")
    assert done.returncode == 0, done.stderr[-3000:]
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["validation"]["accuracy"] > 0.8 and "tensorflow-addons" in info["versions"]
