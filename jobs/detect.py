"""--job=detect: the characters of every page of a store -> RUN_DIR/detections/NAME.csv.

NAME.json beside it tells of which run and store they are.
"""
import json
import time

import numpy as np

from jobs.detection import Finder
from jobs.errors import OptionError
from pipeline.cache import image_source
from records.detections import read_detections, write_detections
from records.files import write_json


def detections_path(session):
    folder = session.options.data_preds_dir or session.run.folder / "detections"
    return folder / f"{session.store.info['name']}.csv"


def run(session):
    started = time.monotonic()
    session.check_packing()
    if "submit" in session.options.job and session.run.info["classes"] == "none":
        raise OptionError(f"{session.run.folder} only finds, it reads no characters: leave "
                          "--job=submit out, and classify the boxes "
                          "(create_tfrecords.py --detections)")
    model, rows = session.model, np.arange(len(session.store.manifest))
    # Each page is used once, so that nothing is gained by decoding them all beforehand.
    cache = "none" if session.options.cache == "auto" else session.options.cache
    source = image_source(session.store, rows, session.run.info["input"]["channels"], cache,
                          session.options.cache_dir)
    frame = Finder(session, model, session.options.scales)(rows, source, rows, "detecting")
    path = detections_path(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # never that of older detections
    write_detections(path, frame)
    write_json(path.with_suffix(".json"), _origin(session) | {
        name: getattr(session.options, name)
        for name in ("scales", "threshold", "max_peaks", "nms_iou")})
    print(f"detected: {len(frame)} characters on {len(rows)} pages in "
          f"{time.monotonic() - started:.0f} s -> {path}")


def read_found(session):
    """The DataFrame of what this run found on this store. Raises OptionError where it is another's."""
    path, origin = detections_path(session), _origin(session)
    try:
        theirs = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"no detections at {path}, or not whole ({error}): make them with "
                          "--job=detect") from error
    if {name: theirs.get(name) for name in origin} != origin:
        raise OptionError(f"{path} is of another run or store than {session.run.folder} and "
                          f"{session.store.folder}: make it again with --job=detect")
    return read_detections(path)


def _origin(session):
    return {"run": str(session.run.folder), "run_created": session.run.info["created"],
            "store_manifest_sha256": session.store.info["manifest_sha256"]}
