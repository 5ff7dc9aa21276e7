"""--job=reidentify: who is it, by the nearest of known pictures; or is it somebody new?

On a training store the training records are the gallery, saved as RUN_DIR/embeddings/gallery.npz, and the
validation records are looked up in it: accuracy and MAP@5; with --new_tfrec_dir, a store of individuals
that the gallery lacks, also the similarity below which one is new. On a test store each record is looked up
in the saved gallery -> RUN_DIR/reidentified/NAME.csv.
"""
import json
import zipfile

import numpy as np
import pandas as pd

from inference.neighbours import class_similarity, nearest, new_individual_threshold, normalised
from inference.predict import Predictor, classifier
from inference.ranking import map_at_k, top_k
from jobs.errors import OptionError, option_errors
from jobs.val import check_classes, check_split
from jobs.vectors import without_vectors
from models.classifier import feature_model
from pipeline.cache import image_source
from records.files import replaced, write_json, write_text
from records.store import open_store

NEIGHBOURS = 50  # that are looked at for the classes they are of
NEW = "new_individual"


def run(session):
    without_vectors(session, "reidentify")
    session.check_packing()
    if session.store.info["source"] == "test":
        look_up(session)
    else:
        fit(session)


def fit(session):
    o, folder = session.options, session.run.folder / "embeddings"
    check_split(session)
    check_classes(session)
    train, val = session.rows
    if not len(val):
        raise OptionError("the split has no validation record to look up")
    features = embed(session, session.store, np.concatenate([train, val]), "embedding")
    gallery, queries = features[:len(train)], features[len(train):]
    labels, truth = session.labels[train], session.labels[val]
    scores, best = identified(gallery, labels, queries, len(session.run.class_names))
    figures = {"accuracy": float((scores.argmax(1) == truth).mean()),
               "map_at_5": map_at_k(truth, top_k(scores, min(5, scores.shape[1])))}
    said = f"accuracy {figures['accuracy']:.4f}, MAP@5 {figures['map_at_5']:.4f}"
    if o.new_tfrec_dir:
        other = open_store(o.new_tfrec_dir)
        both = set(other.class_names) & set(session.store.class_names)
        if both:
            raise OptionError(f"--new_tfrec_dir={o.new_tfrec_dir} holds {len(both)} individuals of the "
                              f"gallery, for instance {min(both)!r}: it must hold others")
        strangers = embed(session, other, np.arange(len(other.manifest)), "embedding new ones")
        _, best_new = nearest(gallery, strangers, 1)
        known = np.isin(truth, labels)  # the others are as new to the gallery
        with option_errors():
            threshold, more = new_individual_threshold(best[known], best_new[:, 0])
        figures |= {"threshold": float(threshold)} | {name: float(value) for name, value in more.items()}
        said += (f"; new below a similarity of {threshold:.4f}: {more['known_kept']:.3f} of the known kept, "
                 f"{more['new_found']:.3f} of {len(strangers)} new found, AUROC {more['auroc']:.4f}")
    folder.mkdir(parents=True, exist_ok=True)
    ids = session.store.manifest["id"].to_numpy()[train]
    with replaced(folder / "gallery.npz") as beside, open(beside, "wb") as file:
        np.savez(file, ids=ids.astype(str), labels=labels, features=gallery)
    write_json(folder / "gallery.json", figures | {"run_created": session.run.info["created"]})
    print(f"re-identified: {len(val)} validation records among {len(train)}: {said} -> {folder}")


def look_up(session):
    gallery, labels, figures = saved_gallery(session)
    store, names = session.store, np.array(session.run.class_names)
    queries = embed(session, store, np.arange(len(store.manifest)), "embedding")
    scores, best = identified(gallery, labels, queries, len(names))
    ranked = top_k(scores, min(5, len(names)))
    table = pd.DataFrame({"id": store.manifest["id"], "similarity": best.round(4)})
    for rank in range(ranked.shape[1]):
        table[f"prediction{rank + 1}"] = names[ranked[:, rank]]
    new = np.zeros(len(table), bool)
    if "threshold" in figures:
        new = best < figures["threshold"]
        table["is_new"] = new.astype(int)
    path = session.run.folder / "reidentified" / f"{store.info['name']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    print(f"re-identified: {len(table)} records, {new.sum()} of them {NEW} -> {path}")


def embed(session, store, rows, description):
    """Features float32 [n, d], of length 1, of rows of a store."""
    run, o = session.run, session.options
    source = image_source(store, rows, run.info["input"]["channels"], o.cache, o.cache_dir)
    batches = session.evaluation_batches(run, source, np.arange(len(rows)), o.views)
    predictor = Predictor(classifier(feature_model(session.model), lambda features, index: {
        "features": features}), session.strategy)
    return normalised(predictor(batches, len(rows), description)["features"])


def identified(gallery, labels, queries, n_classes):
    """(scores float32 [n, classes], the best similarity [n]) of queries, by their nearest."""
    at, similarity = nearest(gallery, queries, min(NEIGHBOURS, len(gallery)))
    return class_similarity(similarity, labels[at], n_classes), similarity[:, 0]


def saved_gallery(session):
    path = session.run.folder / "embeddings" / "gallery.npz"
    try:
        figures = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path, allow_pickle=False) as file:
            gallery, labels = file["features"], file["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise OptionError(f"{path} cannot be read ({error}): make it with --job=reidentify on the training "
                          "store") from error
    if figures["run_created"] != session.run.info["created"]:
        raise OptionError(f"{path} is of an older run in this folder: make it again with --job=reidentify on "
                          "the training store")
    return gallery, labels, figures
