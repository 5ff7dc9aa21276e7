"""The folder of a run: all that its use needs, without the store it was trained on.

  run.json            options, versions, data set, class names, input format, network, results
  checkpoints/        best and last weights, each with its figures
  log.csv tensorboard/
  predictions/*.npz   submission.csv
"""
import dataclasses
import datetime
import json
import pathlib
import platform
import shutil
from importlib.metadata import version

import tensorflow as tf

from records.files import write_json

FORMAT_VERSION = 2
PACKAGES = ("tf_keras", "numpy", "opencv-python-headless",
            "keras-cv-attention-models", "efficientnet", "image-classifiers")
RUNS = pathlib.Path("runs")


class RunError(ValueError):
    """A run folder that is absent, taken, or does not fit what is asked of it."""


@dataclasses.dataclass
class Run:
    folder: pathlib.Path
    info: dict
    may_replace: bool = False  # an older run in the folder

    @property
    def class_names(self):
        return self.info["class_names"]

    def weights(self):
        """The best checkpoint's file. Raises RunError where there is none."""
        path = self.folder / "checkpoints" / "best.h5"
        if not path.is_file():
            raise RunError(f"{self.folder} has no checkpoint ({path} is absent): train it first")
        return path

    def create(self):
        """Makes the folder, in the place of an older run if there is one."""
        try:
            if self.folder.exists() and self.may_replace:
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "run.json", "x"):  # one of two that start at once fails here
                pass
            self.update()
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror}): give another "
                           "--run_dir") from error

    def update(self, **values):
        self.info |= values
        write_json(self.folder / "run.json", self.info)


def plan_run(folder, overwrite, options, **info):
    """A new run, nothing of it written yet: Run.create does that, once all else has worked.

    folder: None for a new one in runs/, named by time and backbone. Raises RunError if it is taken.
    """
    if folder is None:
        name = options["backbone"].replace(":", "-").replace("/", "-")
        if options["task"] == "detect":
            name = "centernet-" + {"pyramid": name}.get(options["architecture"],
                                                        options["architecture"])
        folder = RUNS / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    if (folder / "run.json").exists() and not overwrite:
        raise RunError(f"{folder} holds a run already: pass --overwrite to replace it, or give "
                       "another --run_dir")
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()) and not (folder / "run.json").exists():
        raise RunError(f"{folder} exists and is no run: give another --run_dir")
    return Run(folder, dict(
        format_version=FORMAT_VERSION, finished=False,
        created=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        options={k: str(v) if isinstance(v, pathlib.Path) else v for k, v in options.items()},
        versions={"python": platform.python_version(), "tensorflow": tf.__version__} |
                 {package: version(package) for package in PACKAGES},
        **info), overwrite)


def open_run(folder, task, pack=None, classes=None):
    """The run in `folder`; None: the newest finished one in runs/, said in a line.

    task: of the run. pack: only runs on stores of this packing recipe are looked for, unless None;
    then also only detectors that tell `classes` apart in this way.
    """
    if folder is None:
        found = []
        for path in RUNS.glob("*/run.json"):
            try:
                info = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                print(f"passing over {path}, which is damaged")
                continue
            alike = pack is None or (info["options"]["pack"] == str(pack) and
                                     info.get("classes") == classes)
            if info.get("finished") and info.get("task") == task and alike:
                found.append((info["created"], path.parent))
        if not found:
            raise RunError(f"no finished run{f' of {pack}' if pack else ''} of --task={task} in "
                           f"{RUNS}/: give --run_dir, or train one")
        folder = max(found)[1]
        print(f"run: {folder}, the newest in {RUNS}/")
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if info.get("format_version") == FORMAT_VERSION:
            (info["task"], info["class_names"], info["input"], info["network"], info["dataset"],
             info["options"], info["created"], info["task"] != "detect" or info["classes"])
    except FileNotFoundError:
        raise RunError(f"no run at {folder} (run.json is absent): correct --run_dir, or train one "
                       "with --job=train") from None
    except (ValueError, KeyError, AttributeError, NotADirectoryError) as error:
        raise RunError(f"{folder}/run.json is damaged ({error})") from error
    if info.get("format_version") != FORMAT_VERSION:
        raise RunError(f"{folder} is of format {info.get('format_version')}, this program reads "
                       f"{FORMAT_VERSION}: train it again")
    if info["task"] != task:
        raise RunError(f"{folder} is a run of --task={info['task']}, not of --task={task}: give "
                       "another --run_dir")
    return Run(folder, info)
