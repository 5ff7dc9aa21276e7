"""Images and annotations -> a packed store: check everything, cut in parallel, shuffle, write.

Everything is made in OUT.partial and renamed to OUT at the very end, so OUT is always whole. Chunks
that a killed packing finished are used again when the annotations and options are still the same.
"""
import concurrent.futures
import dataclasses
import fcntl
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import time

from tqdm import tqdm

from records.annotations import Problem, check_image
from records.chunks import CropOptions, pack_chunk, read_chunk_index
from records.files import write_text
from records.image_columns import ImageColumns
from records.layout import FORMAT_VERSION
from records.letterbox import LONGEST, is_strip
from records.places import chunks_of, lengths_by_id, places
from records.tables import record_table

SHOWN_PROBLEMS = 50


class PackingError(ValueError):
    """The store cannot be made as asked; says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True)
class PackingOptions:
    """What is packed where and how. `describe` is kept in dataset.json as given."""
    out_dir: pathlib.Path
    name: str  # of the shards
    source: str  # train, test, pseudo
    crops: CropOptions
    val_splits: dict  # split name -> list of groups
    share_rare: bool
    n_folds: int  # 0: none
    folds_by_group: bool
    seed: int
    shard_mb: float
    workers: int
    skip_bad: bool
    overwrite: bool
    describe: dict
    # Options from here on came later: at its default, one leaves the fingerprint as it was.
    shard_by: str = "size"  # size, fold: see records.shards
    known_classes: tuple | None = None  # names, where the format tells known classes from others
    multilabel: bool = False  # an image has any number of labels
    class_list: tuple | None = None  # all class names in their order, where the format has a list of them
    attribute_ids: tuple | None = None  # the number of each in that list
    text: bool = False  # a record is a line of text, its label what stands there
    class_levels: tuple | None = None  # dicts for dataset.json, where the classes of that list have levels


def pack(images, problems, options):
    """Packs `images` (list of SourceImage, or ImageColumns); returns dataset.json's contents.

    problems: those already found by the reader. Raises PackingError; whatever was made up to then
    stays in OUT.partial for the next call.
    """
    out, partial = options.out_dir, options.out_dir.with_name(options.out_dir.name + ".partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        lock = open(out.with_name(f".{out.name}.lock"), "w")
    except OSError as error:
        raise PackingError(f"{out} cannot be written ({error.strerror}): give another --out_dir"
                           ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PackingError(f"another process is packing {out} right now") from error
        started = time.monotonic()
        fingerprint = _fingerprint(images, problems, options)
        finished = _finished(out, fingerprint, options)
        if finished:
            print(f"packed already: {summary(finished, out)}")
            return finished
        announced = images
        images, problems = _check(images, list(problems), options)
        if isinstance(images, ImageColumns):
            announced, known = images, images.digest()
        try:  # before the long part
            table = record_table(images, options.crops.records, options)
        except ValueError as error:
            raise PackingError(str(error)) from error
        chunks = chunks_of(images, options)
        indices = _cut(chunks, partial, fingerprint, options)
        problems += [problem for index in indices for problem in index["problems"]]
        _report(problems, options, partial)
        where = places(images, chunks, indices, options)
        from records.write_store import write_store  # TensorFlow: not before it is needed
        if len(table) and not where.length.any():
            raise PackingError("nothing to pack: no image can be decoded")
        info = write_store(partial, announced, table, where, problems, fingerprint, options)
        if isinstance(images, ImageColumns) and images.digest() != known:
            raise PackingError(f"{images.path} was changed while it was being packed: pack it again")
        shutil.rmtree(partial / "chunks")
        (partial / "fingerprint").unlink()
        old = out.with_name(f".{out.name}.old")
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(out, old)
        os.rename(partial, out)
        shutil.rmtree(old, ignore_errors=True)
    print(f"packed: {summary(info, out)} in {time.monotonic() - started:.0f} s")
    return info


def summary(info, out):
    classes = (f"of {len(info['class_names'])} {'characters' if 'characters' in info else 'classes'}"
               if info["class_names"] and info["source"] != "test" else "without labels")
    what = (f"{info['n_records']} pages with {info['n_boxes']} boxes" if info["records"] == "pages"
            else f"{info['n_records']} records")
    return (f"{what} {classes}, "
            f"{info['image']['size']} px {info['image']['encoding']}, "
            f"{len(info['shards'])} shard{'s' if len(info['shards']) > 1 else ''}, "
            f"{sum(s['bytes'] for s in info['shards']) / 1e6:.1f} MB -> {out}")


def _fingerprint(images, problems, options):
    """A digest of all that decides the store's contents: annotations, files, options."""
    digest = hashlib.sha256()
    later = {field.name: field.default for field in dataclasses.fields(options)
             if field.default is not dataclasses.MISSING}
    what = {k: v for k, v in dataclasses.asdict(options).items()
            if k not in ("out_dir", "workers", "skip_bad", "overwrite", "describe")
            and not (k in later and v == later[k])}
    digest.update(json.dumps([FORMAT_VERSION, what, list(map(str, problems))],
                             sort_keys=True).encode())
    if isinstance(images, ImageColumns):
        digest.update(images.digest().encode())
        return digest.hexdigest()
    stats = {path: os.stat(path) for path in {image.path for image in images}}
    for image in images:
        stat = stats[image.path]
        boxes = None if image.boxes is None else image.boxes.tolist()
        digest.update(json.dumps([image.image_id, image.path, image.member, image.group,
                                  image.labels, boxes, image.detected is not None,
                                  None if image.scores is None else image.scores.tolist(),
                                  image.stated_size, image.fold, stat.st_size,
                                  stat.st_mtime_ns]).encode())
    return digest.hexdigest()


def _finished(out, fingerprint, options):
    """dataset.json of a store that is there and the same; None to pack; PackingError if another."""
    if not out.exists() or out.is_dir() and not any(out.iterdir()):
        return None
    try:
        info = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
        same = info["fingerprint"] == fingerprint
        files = [("manifest.csv", None), ("images.csv", None),
                 *([("boxes.csv", None)] if info.get("records") == "pages" else []),
                 *((shard["file"], shard["bytes"]) for shard in info["shards"])]
    except (OSError, ValueError, KeyError, TypeError):
        raise PackingError(f"{out} exists and is no packed store: choose another --out_dir, or "
                           "remove it") from None
    lost = [name for name, size in files if not (out / name).is_file() or
            size not in (None, (out / name).stat().st_size)]
    if same and not lost:
        if info["skipped"] and not options.skip_bad:
            raise PackingError(f"{out} was packed without {len(info['skipped'])} bad rows (the "
                               f"first: {info['skipped'][0]}): correct them, or pass --skip_bad")
        return info
    if same:
        print(f"packing again: {out} has lost {', '.join(lost[:3])}")
        return None
    if options.overwrite:
        return None
    raise PackingError(f"{out} holds a store packed from other data or with other options: "
                       "pass --overwrite to replace it, or choose another --out_dir")


def _pool(workers):
    """Worker processes that start clean, without what this one has imported; or, of one, a thread of this process,
    which is there at once."""
    if workers == 1:
        return concurrent.futures.ThreadPoolExecutor(1)
    return concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"))


def _check(images, problems, options):
    """Looks at every image before any is packed; returns the sound images and all problems.

    Pages that are to be denoised are decoded whole, since that costs little beside the denoising.
    """
    if isinstance(images, ImageColumns):  # whose headers were read with them
        checked, found = images.without_larger(options.crops.max_megapixels)
        problems += found
        _report(problems, options, None)
        if not len(checked):
            raise PackingError("nothing to pack: no sound product")
        return checked, problems
    checked, records = [], options.crops.records
    for image in tqdm(images, desc="checking images", unit=" images", delay=2):
        found = check_image(image, options.crops.max_megapixels, decode=False)
        if records == "pages" and is_strip(image.width, image.height):
            found = [Problem(image.file, image.row, (
                f"{image.image_id}: {image.width} x {image.height} px is no page: one side is more "
                f"than {LONGEST} times the other"))]
        elif image.width:
            checked.append(image)
        problems += found
    if options.crops.denoise and checked:
        with _pool(min(options.workers, len(checked))) as pool:
            damaged = pool.map(functools.partial(
                check_image, max_megapixels=options.crops.max_megapixels, decode=True), checked,
                chunksize=4)
            damaged = list(tqdm(damaged, total=len(checked), desc="decoding pages once",
                                unit=" pages", delay=2))
        problems += [problem for found in damaged for problem in found]
        checked = [image for image, found in zip(checked, damaged) if not found]
    _report(problems, options, None)
    if not any(image.record_ids(records) for image in checked):
        if not checked or options.source != "test":
            raise PackingError("nothing to pack: no sound record in the annotations")
        # A detector may find nothing, and its pages are to be in the submission even so.
        print(f"no boxes on any of {len(checked)} pages: the store will have no records")
    return checked, problems


def _report(problems, options, partial):
    """Stops with all problems in one message, unless they are to be skipped."""
    if not problems or options.skip_bad:
        return
    shown = "\n".join(f"  {p}" for p in problems[:SHOWN_PROBLEMS])
    more = f"\n  ... and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    kept = f"\nThe sound part is kept in {partial} for a call with --skip_bad." if partial else ""
    raise PackingError(f"{len(problems)} bad row{'s' if len(problems) > 1 else ''}:\n{shown}{more}\n"
                       f"Nothing was packed. Correct them, or pass --skip_bad to leave them out.{kept}")


def _cut(chunks, partial, fingerprint, options):
    """Runs every Chunk that is not there yet; returns their indices in order, with `file`, and `lengths` as
    an array in the order of their records."""
    marker, spool = partial / "fingerprint", partial / "chunks"
    if partial.exists():
        if marker.is_file() and marker.read_text() == fingerprint:
            done = len(list(spool.glob("*.json")))
            print(f"continuing the packing that was interrupted: {done} chunks are done")
        elif any(partial.iterdir()) and not (marker.is_file() or
                                             (partial / "dataset.json").is_file()):
            raise PackingError(f"{partial} is in the way and not of a packing: remove it, or choose "
                               "another --out_dir")
        else:
            print(f"starting anew: {partial} is of other data, options or annotations")
            shutil.rmtree(partial)
    spool.mkdir(parents=True, exist_ok=True)
    write_text(marker, fingerprint)
    paths = [spool / f"{number:06d}" for number in range(len(chunks))]
    todo = [(chunk, path) for chunk, path in zip(chunks, paths) if read_chunk_index(path) is None]
    total = sum(len(chunk.images) for chunk in chunks)
    with tqdm(total=total, desc="packing", unit=" images", delay=1,
              initial=total - sum(len(chunk.images) for chunk, _ in todo)) as progress:
        if todo:
            with _pool(min(options.workers, len(todo))) as pool:
                running = [pool.submit(pack_chunk, chunk.images, options.crops, path, chunk.as_they_are)
                           for chunk, path in todo]
                try:
                    for future in concurrent.futures.as_completed(running):
                        progress.update(future.result())
                except concurrent.futures.process.BrokenProcessPool as error:
                    raise PackingError("a worker process was killed, probably for want of memory: "
                                       "run again, with fewer --workers; it goes on where it was"
                                       ) from error
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    return [_index(path, chunk.images, options.crops.records) for path, chunk in zip(paths, chunks)]


def _index(path, images, records):
    index = read_chunk_index(path)
    return index | {"file": str(path.with_suffix(".bin")),
                    "lengths": lengths_by_id(images, records, index["lengths"])}
