"""--job=detect: the characters of every page of a store -> RUN_DIR/detections/NAME.csv."""
import time

import numpy as np

from jobs.detection import Finder
from pipeline.cache import image_source
from records.detections import write_detections


def detections_path(session):
    folder = session.options.data_preds_dir or session.run.folder / "detections"
    return folder / f"{session.store.info['name']}.csv"


def run(session):
    started = time.monotonic()
    session.check_packing()
    model, rows = session.model, np.arange(len(session.store.manifest))
    # Each page is used once, so that nothing is gained by decoding them all beforehand.
    cache = "none" if session.options.cache == "auto" else session.options.cache
    source = image_source(session.store, rows, session.run.info["input"]["channels"], cache)
    frame = Finder(session, model, session.options.scales)(rows, source, rows, "detecting")
    path = detections_path(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_detections(path, frame)
    print(f"detected: {len(frame)} characters on {len(rows)} pages in "
          f"{time.monotonic() - started:.0f} s -> {path}")
