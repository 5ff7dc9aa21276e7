"""--job=test of --task=text: what stands on the lines of a store, RUN/texts/NAME.csv.

id,text,confidence: a row per record, in the store's order; confidence is the probability of the path that was
read, 0..1, the lower the longer the text. Where the store has the texts, the figures of the reading are said.
"""
import csv

import numpy as np

from inference.text_scores import text_figures
from jobs.text import Reader, texts_of
from pipeline.cache import image_source
from records.files import replaced


def run(session):
    store, run, o = session.store, session.run, session.options
    session.check_packing()
    rows = np.arange(len(store.manifest))
    source = image_source(store, rows, run.info["input"]["channels"], o.cache, o.cache_dir)
    read, confidence, _ = Reader(session, session.model)(source, rows, "reading")
    path = (o.data_preds_dir or run.folder / "texts") / f"{store.info['name']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "text", "confidence"])
        writer.writerows((name, text, f"{share:.6g}")
                         for name, text, share in zip(store.manifest["id"], read, confidence))
    print(f"read: {len(rows)} lines{_figures(session, read)} -> {path}")


def _figures(session, read):
    """In words, where the texts are known and none of them was trained on."""
    store = session.store
    own = session.run.info["dataset"]["own_manifest_sha256"] == store.own_sha256
    if own or not store.text or store.info["source"] == "test":
        return ""
    figures = text_figures(read, texts_of(store, slice(None)))
    return f", character error rate {figures['cer']:.4f}, without a fault {figures['exact']:.4f}"
