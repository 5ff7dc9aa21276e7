"""The files of a finished store: shards, manifest.csv, images.csv, boxes.csv, dataset.json."""
import datetime
import math

import numpy as np
import pandas as pd

from records.files import sha256, write_json, write_text
from records.images import LINES
from records.layout import BOX_COLUMNS, FORMAT_VERSION
from records.shards import plan_shards, write_shards
from records.tables import box_table, image_table


def _places(indices):
    """DataFrame by record id: where each record lies in the chunks."""
    rows = []
    for index in indices:
        offset = 0
        for record_id, length in index["lengths"].items():
            rows.append((record_id, index["file"], offset, length))
            offset += length
    return pd.DataFrame(rows, columns=["id", "file", "offset", "length"]).set_index("id")


def write_store(folder, images, table, indices, problems, fingerprint, options):
    """Writes the shards, the tables and, last, dataset.json; returns the contents of the last.

    images: all that were announced (list of SourceImage). table: of record_table, where records
    that could not be decoded are still in. indices: of the chunks, each with its `file`.
    """
    places = _places(indices)
    table = table[table["id"].isin(places.index)].reset_index(drop=True)
    sources = places.loc[table["id"]].reset_index(drop=True)
    pages = options.crops.records == "pages"
    packed = table["image_id"].value_counts()
    labelled = box_table(images, packed.index) if pages else table
    labels = table.pop("labels").explode().dropna() if options.multilabel else labelled["label"]
    if options.source == "test":  # what is to be recognised must not be in the records
        labels, labelled["label"] = labels[:0], ""
    if options.text:
        labels = labels.map(list).explode()  # its characters
    counts = labels.value_counts().sort_index()
    if options.class_list is not None:
        counts = counts.reindex(list(options.class_list), fill_value=0)
    code = {name: i for i, name in enumerate(counts.index)}
    table["label_id"] = table["label"].map(code).fillna(-1).astype(int)
    if options.text:
        table["label_id"] = -1
    if options.multilabel:
        table["label_id"] = -1
        table["label_ids"] = _joined(labels.map(code), table.index)
    table["source"] = options.source
    plan = plan_shards(options.name, table["fold"], sources["length"], options.shard_mb * 1e6,
                       options.seed, options.shard_by)
    manifest = write_shards(folder, plan, table, sources)
    write_text(folder / "manifest.csv", manifest.to_csv(index=False))
    write_text(folder / "images.csv", image_table(images, packed).to_csv(index=False))
    boxes = {}
    if pages:
        labelled["label_id"] = labelled["label"].map(code).astype(int)
        write_text(folder / "boxes.csv", labelled.to_csv(index=False, columns=BOX_COLUMNS))
        boxes = {"n_boxes": len(labelled), "boxes_sha256": sha256(folder / "boxes.csv")}
    pixels = max(1, sum(index["pixels"] for index in indices))  # 0: there may be no record
    mean = np.sum([index["sum"] for index in indices], axis=0) / pixels
    square = np.sum([index["squares"] for index in indices], axis=0) / pixels
    shards = [{"file": name, "records": len(rows), "bytes": (folder / name).stat().st_size,
               "sha256": sha256(folder / name)} for name, rows in plan]
    info = {
        "format_version": FORMAT_VERSION, "name": options.name, "fingerprint": fingerprint,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "n_records": len(manifest), "n_images": len(images), "source": options.source,
        "records": options.crops.records, **boxes,
        "image": {"size": options.crops.size, "channels": options.crops.channels,
                  **({"width": options.crops.width} if options.crops.fit in LINES else {}),
                  "encoding": options.crops.encoding},
        "class_names": list(counts.index), "class_counts": counts.tolist(),
        **_told_of_classes(counts, options),
        "groups": sorted(set(table["group"])),
        "mean": np.round(mean, 6).tolist(),  # per channel (RGB order), of values in 0..1; 0 if none
        "std": [round(math.sqrt(max(s - m * m, 0)), 6) for m, s in zip(mean, square)],
        "manifest_sha256": sha256(folder / "manifest.csv"), "shards": shards,
        "skipped": [str(problem) for problem in problems], "options": options.describe}
    if problems:
        print(f"left out {len(problems)} bad rows (named in dataset.json, \"skipped\"), the first: "
              f"{problems[0]}")
    write_json(folder / "dataset.json", info)
    return info


def _joined(codes, rows):
    """Series of str by `rows`: ascending, a space between. codes: Series of int by row, often several."""
    codes = codes.sort_values().astype(int).astype(str)
    return codes.groupby(level=0).agg(" ".join).reindex(rows, fill_value="")


def _told_of_classes(counts, options):
    """What else dataset.json says of the classes. counts: Series of records (boxes) by class name.

    classes_below_n_folds: how many are in fewer records than there are folds, where --n_folds made
    some. known_classes: names, sorted, where the format tells known classes from others. Of several
    labels an image: multilabel, true; label_groups, class ids by what stands before `::` in their names
    ("" for none), in order of first appearance; attribute_ids, where the format has numbers of its own. Of
    lines of text: characters, all of them in one str.
    """
    told = {}
    if options.text:
        told["characters"] = "".join(counts.index)
    elif options.n_folds and options.crops.records != "pages":
        few = told["classes_below_n_folds"] = int((counts < options.n_folds).sum())
        if few:
            print(f"{few} of {len(counts)} classes have fewer records than the {options.n_folds} folds: "
                  "some folds validate without them")
    if options.known_classes is not None:
        told["known_classes"] = sorted(set(options.known_classes) & set(counts.index))
    if options.multilabel:
        told |= {"multilabel": True, "label_groups": {}}
        for class_id, name in enumerate(counts.index):
            group = name.partition("::")[0] if "::" in name else ""
            told["label_groups"].setdefault(group, []).append(class_id)
        if options.attribute_ids is not None:
            told["attribute_ids"] = list(options.attribute_ids)
    return told
