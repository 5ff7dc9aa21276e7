"""--job=detect: the characters of every page of a store -> RUN_DIR/detections/NAME.csv.

NAME.json beside it tells of which run and store they are, NAME_pages.csv which pages were searched.
"""
import json
import time

import numpy as np
import pandas as pd

from jobs.detection import Finder
from jobs.errors import OptionError
from jobs.val import check_split
from pipeline.cache import image_source
from records.detections import read_detections, write_detections
from records.files import write_json, write_text


def detections_path(session, run=None):
    folder = (not run and session.options.data_preds_dir) or (run or session.run).folder / "detections"
    part = "_val" if session.options.only_val else ""
    return folder / f"{session.store.info['name']}{part}.csv"


def run(session):
    started = time.monotonic()
    session.check_packing()
    if "submit" in session.options.job and session.run.info["classes"] == "none":
        raise OptionError(f"{session.run.folder} only finds, it reads no characters: leave "
                          "--job=submit out, and classify the boxes "
                          "(create_tfrecords.py --detections)")
    if session.options.only_val:
        check_split(session)
    model = session.model
    rows = session.rows[1] if session.options.only_val else np.arange(len(session.store.manifest))
    pages = session.store.manifest["image_id"].to_numpy()[rows].tolist()
    # Each page is used once, so that nothing is gained by decoding them all beforehand.
    cache = "none" if session.options.cache == "auto" else session.options.cache
    source = image_source(session.store, rows, session.run.info["input"]["channels"], cache,
                          session.options.cache_dir)
    frame = Finder(session, model, session.options.scales)(rows, source, np.arange(len(rows)), "detecting")
    path = save_found(session, frame, pages, {
        name: getattr(session.options, name)
        for name in ("scales", "threshold", "max_peaks", "nms_iou")})
    print(f"detected: {len(frame)} characters on {len(rows)} pages in "
          f"{time.monotonic() - started:.0f} s -> {path}")


def save_found(session, frame, pages, how):
    """Writes the detections, the list of the pages that were searched, and how; returns their path."""
    path = detections_path(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # never that of older detections
    write_detections(path, frame)
    pages = pd.DataFrame({"image_id": pages})
    write_text(path.with_name(f"{path.stem}_pages.csv"), pages.to_csv(index=False, lineterminator="\n"))
    write_json(path.with_suffix(".json"), _origin(session) | how)
    return path


def read_found(session, run=None):
    """The DataFrame of what a run, by default the session's, found on this store. Raises OptionError
    where it is another's."""
    path, origin = detections_path(session, run), _origin(session, run)
    try:
        theirs = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"no detections at {path}, or not whole ({error}): make them with "
                          "--job=detect") from error
    if {name: theirs.get(name) for name in origin} != origin:
        raise OptionError(f"{path} is of another run or store than {(run or session.run).folder} and "
                          f"{session.store.folder}: make it again with --job=detect")
    return read_detections(path)


def _origin(session, run=None):
    run = run or session.run
    return {"run": str(run.folder), "run_created": run.info["created"],
            "only_val": session.options.only_val,
            "store_manifest_sha256": session.store.info["manifest_sha256"]}
