"""The folder of a run: all that its use needs, without the store it was trained on.

  run.json            options, versions, data set, class names, input format, network, results
  checkpoints/        best and last weights, each with its figures; step-*.npz to go on from
  log.csv tensorboard/ example_losses/
  predictions/*.npz   submission.csv
"""
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import tensorflow as tf

from records.files import write_json
from training.workers import is_chief

FORMAT_VERSION = 2
PACKAGES = ("tf_keras", "tensorflow-addons", "numpy", "opencv-python-headless",
            "keras-cv-attention-models", "efficientnet", "image-classifiers")
RUNS = pathlib.Path("runs")


class RunError(ValueError):
    """A run folder that is absent, taken, or does not fit what is asked of it."""


# Options that say where things are, or how often to save: a run goes on whatever they are.
FREE_OPTIONS = {"job", "run_dir", "overwrite", "resume", "dry_run", "preview_png", "data_tfrec_dir",
                "data_dir", "data_preds_dir", "dim_pre", "truth_csv", "unread_csv",
                "sample_submission", "cache", "cache_dir", "cache_gb", "scales", "tpu_ip_or_name",
                "tpu_project", "tpu_zone", "tpu_version", "checkpoint_every_steps",
                "keep_checkpoints", "n_folds", "initial_fold", "final_fold", "last_fold", "images", "labels", "new_tfrec_dir",
                "tta_number", "score_csv", "score_name", "only_val", "views", "views_mean", "pseudo_tfrec_dir", "members", "aux_features",
                "combine", "member_weights", "merge", "merge_iou", "merge_classes", "rank_by", "rescorer",
                "rescorer_trials", "pseudo_probability", "thresholds", "least_labels", "stack", "stack_rows", "stack_epochs",
                "keep_logits"}


@dataclasses.dataclass
class Run:
    folder: pathlib.Path
    info: dict
    state: str = "there"  # new; replaced (an older run goes); unfinished (it goes on); finished

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
        """Makes the folder, or takes up that of an unfinished run; no other process may train in it
        while this one lives. Only the chief of several workers has anything to do."""
        if not is_chief():
            return
        try:
            if self.state == "replaced":
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(self.folder)
            if self._lock is None:
                raise RunError(f"{self.folder} is being trained by another process: wait for it, or "
                               "give another --run_dir")
            if self.state != "unfinished":
                self.update()
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror}): give another "
                           "--run_dir") from error

    def update(self, **values):
        self.info |= values
        if is_chief():
            write_json(self.folder / "run.json", self.info)


def locked(folder):
    """An open file that holds the lock of a run's folder until it is closed, or the process ends
    however it ends; None where another process holds it."""
    file = open(folder / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def plan_run(folder, overwrite, resume, options, **info):
    """The run to train, nothing of it written yet: Run.create does that, once all else has worked.

    folder: None for the newest unfinished run in runs/ that is this one, else a new one there, named
    by time and backbone. resume: auto, on or off, see run.py --help. Raises RunError if the folder is
    taken by another run, naming the first difference.
    """
    info = json.loads(json.dumps(dict(
        format_version=FORMAT_VERSION, finished=False,
        created=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        options={k: str(v) if isinstance(v, pathlib.Path) else v for k, v in options.items()},
        versions={"python": platform.python_version(), "tensorflow": tf.__version__} |
                 {package: version(package) for package in PACKAGES if _installed(package)},
        **info)))
    if folder is None and resume != "off" and not overwrite:
        found = _unfinished(info)
        if found:
            return _taken_up(*found, info)
    if folder is None:
        if resume == "on":
            raise RunError(f"--resume=on, but no unfinished run of these options is in {RUNS}/: give "
                           "its --run_dir, which tells what differs")
        return Run(_new_folder(options), info, "new")
    there, old = (folder / "run.json").exists(), None
    if folder.is_file() or folder.is_dir() and not there and any(
            path.name != ".lock" for path in folder.iterdir()):
        raise RunError(f"{folder} exists and is no run: give another --run_dir")
    if there and not overwrite:
        if resume == "off":
            raise RunError(f"{folder} holds a run already: pass --overwrite to replace it, or give "
                           "another --run_dir")
        try:
            old = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            differs = difference(old, info)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RunError(f"{folder}/run.json is damaged ({error}): pass --overwrite to replace the "
                           "run, or give another --run_dir") from error
        if differs:
            raise RunError(f"{folder} holds another run: {differs}. Give the same options to go on "
                           "with it, pass --overwrite to replace it, or give another --run_dir")
        return _taken_up(folder, old, info)
    if resume == "on" and not there:
        raise RunError(f"--resume=on, but there is no run at {folder}")
    return Run(folder, info, "replaced" if there else "new")


def difference(old, new):
    """The first thing in which two runs' run.json differ that matters to training, in words; None."""
    for name in ("format_version", "task", "class_names", "input", "network"):
        if old[name] != new[name]:
            return (f"its {name} differ" if name == "class_names" else
                    f"its {name} is {old[name]}, not {new[name]}")
    if old["dataset"]["manifest_sha256"] != new["dataset"]["manifest_sha256"]:
        return (f"it is of another store or packing, {old['dataset']['folder']}, than "
                f"{new['dataset']['folder']}")
    if old.get("aux") != new.get("aux"):
        return "its --aux_features are others"
    ours, theirs = new["options"], old["options"]
    for name in sorted((set(ours) | set(theirs)) - FREE_OPTIONS):
        if ours.get(name) != theirs.get(name):
            return f"its --{name} is {theirs.get(name)}, not {ours.get(name)}"
    return None


def _taken_up(folder, old, new):
    if old.get("finished"):
        return Run(folder, old, "finished")
    other = [f"{name} {old['versions'].get(name)} (now {now})" for name, now in
             new["versions"].items() if old["versions"].get(name) != now]
    if other:
        print(f"note: {folder} was begun with {', '.join(other)}: it goes on, but perhaps not with "
              "the same bits")
    return Run(folder, old, "unfinished")


def _unfinished(info):
    """(folder, run.json) of the newest unfinished run in runs/ with these options that nobody trains."""
    for path in sorted(RUNS.glob("*/run.json"), reverse=True):
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            same = not old["finished"] and difference(old, info) is None
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue
        lock = locked(path.parent) if same else None
        if lock:
            lock.close()
            return path.parent, old
    return None


def _new_folder(options):
    name = options["backbone"].replace(":", "-").replace("/", "-")
    if options["task"] == "detect":
        name = "centernet-" + {"pyramid": name}.get(options["architecture"], options["architecture"])
    folder = RUNS / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    return folder if not folder.exists() else folder.with_name(f"{folder.name}-{os.getpid()}")


def _installed(package):
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def open_run(folder, task, pack=None, classes=None, option="--run_dir"):
    """The run in `folder`; None: the newest finished one in runs/, said in a line.

    task: of the run. pack: only runs on stores of this packing recipe are looked for, unless None;
    then also only detectors that tell `classes` apart in this way. option: what named the folder.
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
            trained = info.get("finished") and info.get("network")  # an ensemble has none
            if trained and info.get("task") == task and alike:
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
        raise RunError(f"no run at {folder} (run.json is absent): correct {option}, or train one "
                       "with --job=train") from None
    except (ValueError, KeyError, AttributeError, NotADirectoryError) as error:
        raise RunError(f"{folder}/run.json is damaged ({error})") from error
    if info.get("format_version") != FORMAT_VERSION:
        raise RunError(f"{folder} is of format {info.get('format_version')}, this program reads "
                       f"{FORMAT_VERSION}: train it again")
    if info["task"] != task:
        raise RunError(f"{folder} is a run of --task={info['task']}, not of --task={task}: give "
                       f"another {option}")
    return Run(folder, info)
