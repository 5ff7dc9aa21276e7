"""Submission and score of products: of runs of products of several images, of what --job=products made, and the
score of single images of products, each by itself.
"""
import numpy as np

from inference.prediction_blocks import PredictionError, open_predictions, places_of
from inference.product_scores import figures_of, right_by_level, score_table
from inference.product_submissions import (CATEGORY, ID, PART, matched, names_products, read_products,
                                           write_product_submission)
from jobs.errors import OptionError
from jobs.predictions import predictions_path


def is_meant(session):
    return bool(session.run.info.get("product_images"))


def is_scored(session):
    """Whether the truth is of products: then the run may be one of single images."""
    return is_meant(session) or names_products(session.options.truth_csv)


def submit(session):
    store, run, sample = session.store, session.run, session.options.sample_submission
    sample_ids = read_products(sample, [])[ID].to_numpy() if sample else None
    found = open_predictions(predictions_path(session), store.own_sha256, store.records_sha256)
    ids = store.manifest["id"].to_numpy(object)
    places = places_of(found, ids, "product")
    if (places < 0).any():
        raise PredictionError(f"{found.path} has no prediction of product {ids[places < 0][0]!r}: make it again")
    path = run.folder / "submission.csv"
    write_product_submission(path, ids, np.array(found.class_names, object)[found.best()[places]], sample_ids)
    print(f"submission: {len(ids)} products -> {path}")


def score(session):
    """Prints and returns the figures of the submission, for the table of scores; of a run of single images, of
    each image as the only one of its product."""
    o, run = session.options, session.run
    if not o.data_tfrec_dir:
        raise OptionError("--job=score of products needs --data_tfrec_dir, the store that was predicted: it says "
                          "how many images each has")
    truth, what = read_products(o.truth_csv, [CATEGORY]), "products" if is_meant(session) else "single images"
    if is_meant(session):
        path = run.folder / "submission.csv"
        given = matched(path, read_products(path, [CATEGORY]), o.truth_csv, truth)
        count = session.store.manifest.set_index("id")["n_images"]
    else:
        path, count = predictions_path(session), session.store.manifest["group"].value_counts()
        given, truth = of_images(session, truth)
    count = count.reindex(truth[ID])
    if count.isna().any():
        unknown = truth[ID][count.isna().to_numpy()].iloc[0]
        raise OptionError(f"{session.store.folder} has no product {unknown!r}: give the store that was predicted")
    table = score_table(right_by_level(given, truth[CATEGORY], run.class_names, run.info.get("class_levels") or []),
                        count.to_numpy(int), truth[PART].to_numpy(object) if PART in truth else None, what)
    strange = int((~truth[CATEGORY].isin(run.class_names)).sum())
    print(table.to_string(float_format="%.4f"))
    print(f"scored: accuracy {table.loc['all', 'accuracy']:.4f} on {len(truth)} {what}" +
          (f", {strange} of them of categories that the run does not know" if strange else "") + f" -> {path}")
    return figures_of(table)


def of_images(session, truth):
    """(str [n], the categories that the run gives the store's images; the rows of `truth` that they belong to)."""
    found = open_predictions(predictions_path(session), session.store.own_sha256, session.store.records_sha256)
    product = session.store.manifest.set_index("id")["group"].reindex(found.ids)
    unknown = ~product.isin(truth[ID])
    if unknown.any():
        raise OptionError(f"{session.options.truth_csv} has no product {product[unknown].iloc[0]!r}, of which "
                          f"{found.path} has an image")
    return np.array(found.class_names, object)[found.best()], truth.set_index(ID).loc[product].reset_index()
