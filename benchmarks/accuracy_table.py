"""A table of validation accuracies on Omniglot: rows of options, each trained with several seeds.

The network and the split are those of recipes/omniglot/classify.args: 15 drawers train, 5 validate.
Runs are kept in --work_dir, named by a digest of their options too; those that are finished are not
done again, and one that was cut off goes on. Options that are not known here go to run.py.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np


def accuracy(store, folder, options):
    """Validation accuracy of a run, trained unless it is there."""
    report = folder / "run.json"
    if not report.exists() or "validation" not in json.loads(report.read_text()):
        subprocess.run([sys.executable, "run.py", "@recipes/omniglot/classify.args",
                        f"--data_tfrec_dir={store}", f"--run_dir={folder}", "--job=train,val",
                        *options], check=True)
    return json.loads(report.read_text())["validation"]["accuracy"]


def print_table(doc, what, rows, common=(), work_dir=None):
    """doc: of the program. what: heads the first column. rows: {name: options of run.py}. common:
    options of all rows. work_dir: default folder of the store and the runs."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="images_background_small1.zip of Omniglot")
    parser.add_argument("--work_dir", type=pathlib.Path, default=pathlib.Path(work_dir),
                        help="store and runs (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--n_epochs", type=int, default=30, help="of each run (default: 30)")
    o, others = parser.parse_known_args()
    store = o.work_dir / "store"
    if not (store / "dataset.json").exists():
        subprocess.run([sys.executable, "create_tfrecords.py", "@recipes/omniglot/pack.args",
                        f"--data_dir={o.data_dir}", f"--out_dir={store}"], check=True)
    table = {}
    for seed in range(1, o.seeds + 1):  # row after row, so that a part is a fair table too
        for number, (name, options) in enumerate(rows.items()):
            digest = hashlib.sha256(json.dumps([*options, *others]).encode()).hexdigest()[:8]
            folder = o.work_dir / f"row{number}_{digest}_epochs{o.n_epochs}_seed{seed}"
            table.setdefault(name, []).append(accuracy(store, folder, [
                *common, *options, f"--seed={seed}", f"--n_epochs={o.n_epochs}", *others]))
    print(f"\n| {what}, {o.n_epochs} epochs | accuracy | {o.seeds} seeds |\n|---|---|---|")
    for name, values in table.items():
        print(f"| {name} | {np.mean(values):.3f} | {', '.join(f'{v:.3f}' for v in values)} |")
