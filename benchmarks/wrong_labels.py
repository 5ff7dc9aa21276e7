"""How well the images left out for their loss are those with another image's labels: on rendered artworks.

  python -m benchmarks.wrong_labels --truth_csv data/demo_imet/imet/train_truth.csv RUN_OR_FOLDS...

Of every run's last RUN/example_losses/*.csv (--losses_after_epochs) it tells how many of the wrong are found
when as many are left out as --drop_worst left out, and how many of those left out are right; and the same for
the best share there is.
"""
import argparse
import pathlib

import numpy as np
import pandas as pd

from jobs.folds import fold_folders


def found(losses, wrong):
    """(recall, false share) by how many of the highest are left out, float [n] each."""
    order = np.argsort(-losses, kind="stable")
    hits, count = np.cumsum(wrong[order]), np.arange(1, len(order) + 1)
    return hits / wrong.sum(), 1 - hits / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth_csv", required=True, help="id,attribute_ids,is_wrong")
    parser.add_argument("--share", type=float, help="of the records, as if --drop_worst had been this "
                                                    "(default: what it was)")
    parser.add_argument("runs", nargs="+", type=pathlib.Path, help="runs, or folders of folds")
    o = parser.parse_args()
    truth = pd.read_csv(o.truth_csv, dtype={"id": str}).set_index("id")["is_wrong"] == 1
    for folder in o.runs:
        for run in fold_folders(folder) or [folder]:
            table = pd.read_csv(sorted((run / "example_losses").glob("*.csv"))[-1], dtype={"id": str})
            wrong = truth.loc[table["id"]].to_numpy()
            recall, false = found(table["excess"].to_numpy(), wrong)
            at = max((int(table["left_out"].sum()) if o.share is None else round(o.share * len(table))) - 1, 0)
            within = np.flatnonzero(false <= 0.3)
            best = f"; at most {recall[within].max():.3f} with 30% false" if len(within) else ""
            print(f"{run}: {wrong.sum()} of {len(table)} have wrong labels; of the {at + 1} left out "
                  f"{1 - false[at]:.3f} are wrong, which is {recall[at]:.3f} of all{best}")


if __name__ == "__main__":
    main()
