"""Pseudo labels: what run.py --job=pseudo wrote, as records that train beside true ones.

FILE.csv is detections with labels (records.detections) for boxes, id,label,probability for whole images,
or id,labels,probability, names parted by |, where they have several; FILE.json beside it tells of the run that made them.
"""
import hashlib
import json
import pathlib

import pandas as pd

from records.annotations import AnnotationError, Problem, csv_rows
from records.store import Store, StoreError


def read_origin(path):
    """The contents of the JSON beside the pseudo labels at `path`. Raises AnnotationError."""
    origin = pathlib.Path(path).with_suffix(".json")
    try:
        contents = json.loads(origin.read_text(encoding="utf-8"))
        contents["run"]
        return contents
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnnotationError(f"{origin}, which tells of the run that made {path}, cannot be read "
                              f"({error}): make both with run.py --job=pseudo") from error


def pseudo_labelled(images, path):
    """(those of `images`, a list of SourceImage, that the file has labels for, with them; problems)."""
    by_id = {image.image_id: image for image in images}
    labelled, problems = {}, []
    for row_number, row in csv_rows(path, ["id"]):
        labels = row["labels"].split("|") if row.get("labels") else [row["label"]] if row.get("label") else None
        fault = (f"id {row['id']!r} is none of the {len(images)} images" if row["id"] not in by_id else
                 f"id {row['id']!r} has a label already" if row["id"] in labelled else
                 "the label is empty" if labels is None else None)
        if fault:
            problems.append(Problem(str(path), row_number, fault))
            continue
        labelled[row["id"]] = image = by_id[row["id"]]
        image.labels = labels
    return list(labelled.values()), problems


def with_pseudo(store, pseudo):
    """A Store of the records of both, those of `pseudo` on the training side of every split.

    Classes, sizes and statistics are those of `store`; a class that it lacks, records of another
    kind, and an id or a shard's name that both have, are refused (StoreError).
    """
    alike = ("size", "channels", "fit", "margin", "local_contrast", "denoise", "records")
    ours, theirs = store.info["options"], pseudo.info["options"]
    odd = [f"{name} {theirs[name]} (there: {ours[name]})" for name in alike if ours[name] != theirs[name]]
    if pseudo.info["source"] != "pseudo":
        odd = [f"source {pseudo.info['source']}, not pseudo"]
    if pseudo.multilabel != store.multilabel:
        odd = [f"{'several labels' if pseudo.multilabel else 'one label'} an image (there: "
               f"{'several' if store.multilabel else 'one'})"]
    if odd:
        raise StoreError(f"{pseudo.folder} cannot train beside {store.folder}: it was packed with "
                         f"{', '.join(odd)}; pack it with create_tfrecords.py --pseudo and the options of "
                         "the other")
    counts = zip(pseudo.class_names, pseudo.info["class_counts"])
    unknown = sorted({name for name, count in counts if count} - set(store.class_names))
    if unknown:
        raise StoreError(f"{pseudo.folder} has {len(unknown)} classes that {store.folder} lacks, for "
                         f"instance {unknown[0]!r}: make it from a run on that store")
    both = set(store.manifest["id"]) & set(pseudo.manifest["id"])
    if both:
        raise StoreError(f"id {min(both)!r} is in {store.folder} and in {pseudo.folder}: what is labelled "
                         "already needs no pseudo label")
    files = {shard["file"] for shard in store.info["shards"]}
    if files & {shard["file"] for shard in pseudo.info["shards"]}:
        raise StoreError(f"{pseudo.folder} has shards of the same names as {store.folder}: pack it with "
                         "another --name")
    code = {name: number for number, name in enumerate(store.class_names)}
    more = pseudo.manifest.assign(label_id=pseudo.manifest["label"].map(code).astype("Int64"), fold=-1)
    if store.multilabel:
        own = [code.get(name) for name in pseudo.class_names]
        more["label_id"] = -1
        more["label_ids"] = [" ".join(map(str, sorted(own[int(k)] for k in text.split())))
                             for text in more["label_ids"]]
    more = more.assign(**{c: "train" for c in store.manifest if c.startswith("split_")})
    manifest = pd.concat([store.manifest, more[list(store.manifest)]], ignore_index=True)
    joint = lambda name: hashlib.sha256((store.info[name] + pseudo.info[name]).encode()).hexdigest()
    shards = [shard | {"folder": pseudo.folder} for shard in pseudo.info["shards"]]
    info = store.info | {"shards": store.info["shards"] + shards, "n_records": len(manifest),
                         "manifest_sha256": joint("manifest_sha256"), "fingerprint": joint("fingerprint"),
                         "own_manifest_sha256": store.own_sha256}
    return Store(store.folder, info, manifest)
