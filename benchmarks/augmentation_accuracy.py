"""What augmentation is worth: accuracy on real characters, by augmentation, at equal budget.

  python -m benchmarks.augmentation_accuracy --data_dir images_background_small1.zip [options of run.py]

The network and the split are those of recipes/omniglot/classify.args: 15 drawers train, 5 validate.
Every row is trained for the same number of epochs with several seeds. A row has what the rows above it
have, but that the last two, which both mix images, each follow erasing. Runs are kept in --work_dir,
named by a digest of their options too, and those that are finished are not done again.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np

GEOMETRY = ["--rotate=15", "--shear=15", "--scale=0.2", "--shift=0.1"]
COLOUR = [*GEOMETRY, "--brightness=0.25", "--contrast=0.25", "--gamma=0.25"]
ERASING = [*COLOUR, "--erase=0.4"]
ROWS = {"none": [], "geometry": GEOMETRY, "+ colour": COLOUR, "+ erasing": ERASING,
        "+ mixup": [*ERASING, "--mixup=0.2"],
        "+ ICAP": [*ERASING, "--icap=1.0", "--icap_p=0.5"]}
NO_AUGMENTATION = ["--rotate=0", "--shear=0", "--scale=0", "--shift=0", "--erase=0"]


def accuracy(store, folder, options):
    """Validation accuracy of a run, trained unless it is there."""
    report = folder / "run.json"
    if not report.exists() or "validation" not in json.loads(report.read_text()):
        subprocess.run([sys.executable, "run.py", "@recipes/omniglot/classify.args",
                        f"--data_tfrec_dir={store}", f"--run_dir={folder}", "--overwrite",
                        "--job=train,val", *NO_AUGMENTATION, *options], check=True)
    return json.loads(report.read_text())["validation"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="images_background_small1.zip of Omniglot")
    parser.add_argument("--work_dir", type=pathlib.Path, default=pathlib.Path("runs/augmentation"),
                        help="store and runs (default: runs/augmentation)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--n_epochs", type=int, default=30, help="of each run (default: 30)")
    o, others = parser.parse_known_args()
    store = o.work_dir / "store"
    if not (store / "dataset.json").exists():
        subprocess.run([sys.executable, "create_tfrecords.py", "@recipes/omniglot/pack.args",
                        f"--data_dir={o.data_dir}", f"--out_dir={store}"], check=True)
    table = {}
    for seed in range(1, o.seeds + 1):  # row after row, so that a part is a fair table too
        for number, (name, options) in enumerate(ROWS.items()):
            digest = hashlib.sha256(json.dumps([*options, *others]).encode()).hexdigest()[:8]
            folder = o.work_dir / f"row{number}_{digest}_epochs{o.n_epochs}_seed{seed}"
            table.setdefault(name, []).append(accuracy(store, folder, [
                *options, f"--seed={seed}", f"--n_epochs={o.n_epochs}", *others]))
    print(f"\n| augmentation, {o.n_epochs} epochs | accuracy | {o.seeds} seeds |\n|---|---|---|")
    for name, values in table.items():
        print(f"| {name} | {np.mean(values):.3f} | {', '.join(f'{v:.3f}' for v in values)} |")


if __name__ == "__main__":
    main()
