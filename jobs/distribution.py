"""--job=distribution: how often each class was read on a store -> RUN_DIR/distribution/NAME.csv, .png.

System A's use: of which books are the unlabelled pages, as a classifier of pages into titles sees it.
"""
import numpy as np
import pandas as pd
from scipy.special import softmax

from inference.predict import load_predictions
from jobs.predictions import predictions_path
from records.files import write_text
from reports.bars import draw_bars

SHOWN = 20


def run(session):
    store, run = session.store, session.run
    classes, logits = load_predictions(predictions_path(session), store.manifest["id"].tolist(),
                                       store.own_sha256)
    probability = softmax(logits, axis=1)
    table = pd.DataFrame({
        "class": classes, "read": np.bincount(logits.argmax(axis=1), minlength=len(classes)),
        "expected": probability.sum(axis=0).round(2)})  # the sum of probabilities
    table["share"] = (table["expected"] / max(1, len(logits))).round(4)
    table = table.sort_values(["expected", "class"], ascending=[False, True])
    path = run.folder / "distribution" / f"{store.info['name']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    shown = table.head(SHOWN)
    draw_bars(path.with_suffix(".png"), shown["class"].tolist(), 100 * shown["share"],
              f"Classes of {len(logits)} records", "share, % (sum of probabilities)")
    print(shown.to_string(index=False))
    print(f"distribution: {len(logits)} records over {len(classes)} classes; the surest is on average "
          f"{probability.max(axis=1).mean() if len(logits) else 0:.3f} -> {path}")
