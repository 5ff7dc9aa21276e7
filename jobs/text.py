"""What the jobs of --task=text share: texts as numbers, and a network that reads a store's records."""
import functools

import numpy as np
import tensorflow as tf

from inference.predict import Predictor
from inference.text_scores import text_figures
from jobs.errors import OptionError
from models.ctc import ctc_loss, greedy_decode, steps_needed
from pipeline.batches import evaluation_batches


def texts_of(store, rows):
    """What stands on the records at `rows` of the manifest, n str."""
    return store.manifest["label"].to_numpy()[rows].tolist()


def padded_texts(texts, characters):
    """int32 [n, longest]: the numbers of each text's characters, padded by -1; longest is 1 at least.

    characters: list of str of one character each. One that is not among them is numbered len(characters).
    """
    number = {character: k for k, character in enumerate(characters)}
    padded = np.full((len(texts), max(map(len, texts), default=0) or 1), -1, np.int32)
    for row, text in zip(padded, texts):
        row[:len(text)] = [number.get(character, len(characters)) for character in text]
    return padded


def check_steps(store, rows, padded, steps):
    """Raises OptionError for the first of the texts, those at `rows`, that cannot be said in so many steps."""
    needed = steps_needed(padded)
    if needed.max(initial=0) > steps:
        worst = int(needed.argmax())
        raise OptionError(
            f"the text of {store.manifest['id'].iloc[rows[worst]]!r} ({texts_of(store, rows[[worst]])[0]!r}) needs "
            f"{needed[worst]} steps, and lines of {store.record_size[1]} px have {steps}: pack the store with a "
            "greater --aspect, or leave the record out")


class Reader:
    """Reads records with a model; compiled once, used often.

    texts: int32 [n, longest] by index of the records, to give their loss too; None: without it.
    """

    def __init__(self, session, model, texts=None):
        self.session = session
        held = None if texts is None else tf.constant(texts)

        def read(index, images):
            logits = model(images, training=False)
            found = greedy_decode(logits)
            if held is not None:
                found["loss"] = ctc_loss(tf.gather(held, tf.maximum(index, 0)), logits)
            return found
        self.predictor = Predictor(read, session.strategy)

    def __call__(self, source, positions, description):
        """(n str, confidence float32 [n], loss float32 [n] or None). confidence: probability of the path that
        was read, 0..1."""
        batches = line_batches(self.session, source, positions)
        found = self.predictor(batches, len(positions), description)
        if found is None:  # there is no record
            return [], np.zeros(0, np.float32), None
        names = self.session.run.class_names
        read = ["".join(names[k] for k in row if k >= 0) for row in found["ids"]]
        return read, np.exp(found["log_probability"]), found.get("loss")


def line_batches(session, source, positions):
    replicas = session.strategy.num_replicas_in_sync
    return evaluation_batches(source, positions, session.input_format,
                              batch_size=max(1, session.options.batch_size // replicas) * replicas)


def validation(session):
    """A function of a model giving the figures of the validation rows: loss, cer, exact."""
    source, position = session.source
    rows = session.rows[1]
    truth = texts_of(session.store, rows)
    reader = functools.lru_cache(maxsize=1)(
        lambda model: Reader(session, model, padded_texts(truth, session.run.class_names)))

    def figures(model):
        read, _, loss = reader(model)(source, position[rows], "validating")
        return {"loss": float(np.mean(loss)), **text_figures(read, truth)}
    return figures
