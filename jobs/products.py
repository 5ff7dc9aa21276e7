"""--job=products: what several runs said of the products of a store, as one; its folder is then used like a run's.

A member is a run of single images, which says of a product the mean of what it says of its images; a run of
products of K images (--product_images=K), which says something of those alone; or such a folder again. Each must
have predicted the store (--job=test). With --val_fold or --split it is the validation records instead, which each
must have validated (--job=val), and it is told how well they do.
"""
import numpy as np

from inference.ensembles import check_members
from inference.prediction_blocks import PredictionError, open_predictions, places_of
from inference.product_means import Member, product_means, save_product_predictions
from inference.product_scores import figures_of, right_by_level, score_table
from jobs.errors import OptionError, option_errors
from jobs.members import make_run, open_members
from jobs.predictions import predictions_path
from jobs.session import EVERY_PRODUCT
from jobs.val import check_classes, check_split
from records.products import product_store


def run(session):
    o = session.options
    folders = open_members(o)
    runs = [run for folder in folders for run in folder]
    weights = [weight / len(folder) for weight, folder in zip(o.member_weights or [1] * len(folders), folders)
               for _ in folder]
    if not all(weights):
        raise OptionError("--member_weights: a member of weight 0 says nothing, leave it out")
    with option_errors():
        check_members([str(r.folder) for r in runs], [[]] * len(runs), [r.class_names for r in runs])
    session.run = make_run(o, runs, {"products": "mean_probabilities", "weights": o.member_weights},
                           product_images=EVERY_PRODUCT)
    session.check_packing()
    store, validating = session.store, o.split is not None or o.val_fold is not None
    if validating:
        check_split(session)
        check_classes(session)
    rows = session.rows[1] if validating else np.arange(len(store.manifest))
    count = store.manifest["n_images"].to_numpy(np.int64)[rows]
    suffix, job = ("_val", "val") if validating else ("", "test")
    members = [opened(session, member, weight, rows, suffix, job) for member, weight in zip(runs, weights)]
    ids = store.manifest["id"].to_numpy(object)[rows]
    if not any(member.of_pictures for member in members):
        alone = np.all([member.places < 0 for member in members], axis=0)
        if alone.any():
            raise OptionError(f"no member has predicted product {ids[alone][0]!r} of {count[alone][0]} images "
                              f"({alone.sum()} in all): add a run of single images, or of products of so many, to "
                              "--members")
    path = predictions_path(session, suffix)
    indptr = np.concatenate([[0], np.cumsum(count)])
    labels = session.labels[rows] if validating else None
    top, _ = save_product_predictions(path, ids, session.run.class_names, product_means(members, indptr),
                                      store.own_sha256, store.records_sha256, o.keep_logits, labels)
    if validating:
        tell(session, rows, top[:, 0])
    print(f"products: {len(runs)} runs, {len(ids)} products of {count.sum()} images -> {path}")


def opened(session, run, weight, rows, suffix, job):
    """The Member of a run's predictions of the products at `rows` of the store."""
    store, kind = session.store, run.info.get("product_images")
    own = (session.packed_store if kind is None else store if kind == EVERY_PRODUCT else
           product_store(session.packed_store, kind))
    found = open_predictions(predictions_path(session, suffix, run), records=own.records_sha256, job=job)
    if found.logits is None:
        raise PredictionError(f"{found.path} has only the best classes of each product: make it again with "
                              "--keep_logits=on")
    if kind is None:
        ids = own.manifest["id"].to_numpy(object)[store.pictures_of(rows)]
        places = places_of(found, ids, "image", job)
        missing = ids[places < 0]
    else:
        ids = store.manifest["id"].to_numpy(object)[rows]
        places = places_of(found, ids, "product", job)
        count = store.manifest["n_images"].to_numpy(np.int64)[rows]
        missing = ids[(places < 0) & ((count == kind) | (kind == EVERY_PRODUCT))]
    if len(missing):
        raise PredictionError(f"{found.path} has no prediction of {len(missing)} of the records, the first "
                              f"{missing[0]!r}: make it again with --job={job}")
    return Member(found.logits, places, kind is None, weight)


def tell(session, rows, best):
    """Prints the accuracy of validation products; it goes into run.json. best: int [n], their classes."""
    names, store = np.array(session.run.class_names, object), session.store
    right = right_by_level(names[best], store.manifest["label"].to_numpy(object)[rows], names, store.class_levels)
    table = score_table(right, store.manifest["n_images"].to_numpy(np.int64)[rows])
    print(table.to_string(float_format="%.4f"))
    session.run.update(validation={name: round(value, 6) for name, value in figures_of(table).items()})
