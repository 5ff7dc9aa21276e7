"""--job=val: accuracy of a run on the validation rows of its store."""
import collections
import functools

import numpy as np

from inference.accuracy import accuracy_figures, cross_entropy, on_device
from inference.predict import Predictor, classifier, save_predictions
from inference.label_scores import told
from inference.product_scores import right_by_level
from jobs import multilabel
from jobs.errors import OptionError
from jobs.predictions import held_logits, predicted_blocks, predictions_path
from pipeline.selection import is_shared, repeat_rare
from training.workers import is_chief


def validation(session):
    """A function of a model giving the figures of the validation rows."""
    source, position = session.source
    rows = session.rows[1]
    labels = session.labels[rows]
    batches = session.evaluation_batches(session.run, source, position[rows])

    @functools.lru_cache(maxsize=1)
    def predictor(model):  # compiled once, not anew every epoch
        return Predictor(classifier(model, on_device(labels)), session.strategy)

    def figures(model):
        results = predictor(model)(batches, len(rows), "validating")
        if session.store.multilabel:
            return multilabel.while_training(session, results["logits"], results["loss"])
        return figures_of(session, results["predicted"], results["loss"])
    return figures


def saved_validation(session):
    """The figures of the run's best weights in the views asked for; the predictions are saved, as
    ensembles, stacking and scores over all folds need them. Memory: a block of logits at a time; of several
    labels, whose thresholds are fitted, all of them."""
    rows = session.rows[1]
    source, position = session.source
    ids, labels = session.store.manifest["id"].to_numpy()[rows], session.labels[rows]
    blocks = predicted_blocks(session, source, position[rows], "validating", rows)
    if session.store.multilabel:
        logits = held_logits(blocks, len(rows), len(session.run.class_names))
        save(session, ids, logits, labels)
        return multilabel.validated(session, ids.tolist(), logits, labels > 0)
    predicted, loss = np.zeros(len(rows), np.int64), np.zeros(len(rows))

    def seen():
        done = 0
        for block in blocks:
            own = slice(done, done + len(block))
            predicted[own], loss[own] = block.argmax(axis=1), cross_entropy(block, labels[own])
            done = own.stop
            yield block
    save(session, ids, seen(), labels)
    return figures_of(session, predicted, loss)


def save(session, ids, logits, labels):
    """Writes the validation's predictions; only the first of several workers does, but each goes through them."""
    if is_chief():
        save_predictions(predictions_path(session, "_val"), ids, session.run.class_names, logits,
                         session.store.own_sha256, session.store.records_sha256, labels)
    else:
        collections.deque(logits, maxlen=0)


def figures_of(session, predicted, loss):
    """accuracy_figures of the validation rows, those of rare classes counted more often if asked; and
    accuracy_level1, … of the wider levels of category, where the store has them."""
    rows, store = session.rows[1], session.store
    labels = session.labels[rows]
    shared = is_shared(store.manifest, session.options.split)[rows]
    counted = repeat_rare(np.arange(len(rows)), labels, session.options.oversample_val_to)
    figures = accuracy_figures(labels[counted], predicted[counted], loss[counted], shared[counted])
    right = right_by_level(predicted[counted], labels[counted], range(len(session.class_names)), store.class_levels)
    figures |= {name: float(own.mean()) for name, own in right.items()}
    return figures


def run(session):
    session.check_packing()
    check_split(session)
    check_classes(session)
    if not len(session.rows[1]):
        raise OptionError("the split has no validation record")
    figures = saved_validation(session)
    if session.store.multilabel:
        print(f"validated: {session.run.folder}, {told(figures)} on {len(session.rows[1])} records, thresholds of "
              f"each half fitted on the other; next: {_next(session)}")
        return
    session.run.update(validation={k: round(v, 6) for k, v in figures.items()})
    shared = figures.get("accuracy_not_shared")
    wider = "".join(f", {value:.4f} at level {name[-1]}" for name, value in figures.items() if "_level" in name)
    print(f"validated: {session.run.folder}, accuracy {figures['accuracy']:.4f} on "
          f"{len(session.rows[1])} records" +
          ("" if shared is None else
           f", {shared:.4f} without those that validate by the rare-class rule") +
          f"{wider}; mean over classes {figures['balanced_accuracy']:.4f}; "
          f"next: {_next(session)}")


def check_classes(session):
    """The store's classes must be those that the run was trained on; of several labels, some of them."""
    if session.store.multilabel and set(session.run.class_names) <= set(session.store.class_names):
        return
    if session.run.class_names != session.store.class_names:
        ours, theirs = set(session.run.class_names), set(session.store.class_names)
        raise OptionError(
            f"{session.store.folder} has other classes than the run {session.run.folder} "
            f"({len(theirs - ours)} unknown to the run, {len(ours - theirs)} missing, for instance "
            f"{', '.join(sorted(ours ^ theirs)[:3])}): give the run's store, or train anew")


def _next(session):
    if session.store.info["records"] == "images":
        return f"python run.py --job=test --run_dir={session.run.folder} --data_tfrec_dir=STORE"
    return f"RUN_DIR={session.run.folder} bash run_inference.sh, with the RECIPE and data of this run"


def check_split(session):
    """On the run's own store, what it trained on must not validate it."""
    run, options = session.run, session.options
    own = run.info["dataset"]["own_manifest_sha256"] == session.store.own_sha256
    trained = run.info["options"]["split"], run.info["options"]["val_fold"]
    if own and trained != (options.split, options.val_fold):
        raise OptionError(f"{run.folder} was trained with --split={trained[0]} --val_fold="
                          f"{trained[1]}: another validation would hold what it was trained on")
