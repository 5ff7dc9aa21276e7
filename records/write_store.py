"""The files of a finished store: shards, manifest.csv, images.csv, boxes.csv, dataset.json."""
import datetime
import math

import numpy as np
import pandas as pd

from records.files import sha256, write_json, write_parts, write_text
from records.image_columns import ImageColumns
from records.images import LINES
from records.layout import BOX_COLUMNS, FORMAT_VERSION
from records.shards import plan_shards, write_shards
from records.tables import box_table, image_table


def write_store(folder, images, table, where, problems, fingerprint, options):
    """Writes the shards, the tables and, last, dataset.json; returns the contents of the last.

    images: all that were announced (list of SourceImage), or the sound ones (ImageColumns). table: of
    record_table. where: places.Places of its rows; records that could not be made are left out.
    """
    made = where.length > 0
    table = table[made].reset_index(drop=True)
    where = where._replace(file=where.file[made], offset=where.offset[made], length=where.length[made])
    if isinstance(images, ImageColumns):
        counts, parted, boxes, first, named = _columns(folder, images, table, made, options)
        groups = []  # every product is one
    else:
        counts, boxes, first, named = _listed(folder, images, table, options)
        parted, groups = counts, sorted(set(table["group"]))
    plan = plan_shards(options.name, table["fold"], where.length, options.shard_mb * 1e6, options.seed,
                       options.shard_by, first)
    shards = write_shards(folder, plan, table, where, named, options.workers)
    pixels = max(1, sum(part["pixels"] for part in where.measured))  # 0: there may be no record
    mean = np.sum([part["sum"] for part in where.measured], axis=0) / pixels
    square = np.sum([part["squares"] for part in where.measured], axis=0) / pixels
    info = {
        "format_version": FORMAT_VERSION, "name": options.name, "fingerprint": fingerprint,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "n_records": len(table), "n_images": len(images), "source": options.source,
        "records": options.crops.records, **boxes,
        "image": {"size": options.crops.size, "channels": options.crops.channels,
                  **({"width": options.crops.width} if options.crops.fit in LINES else {}),
                  "encoding": options.crops.encoding},
        "class_names": list(counts.index), "class_counts": counts.tolist(),
        **_told_of_classes(parted, options), "groups": groups,
        "mean": np.round(mean, 6).tolist(),  # per channel (RGB order), of values in 0..1; 0 if none
        "std": [round(math.sqrt(max(s - m * m, 0)), 6) for m, s in zip(mean, square)],
        **({} if where.sampled is None else {"mean_std_sampled_of": where.sampled}),
        "manifest_sha256": sha256(folder / "manifest.csv"), "shards": shards,
        "skipped": [str(problem) for problem in problems], "options": options.describe}
    if problems:
        print(f"left out {len(problems)} bad rows (named in dataset.json, \"skipped\"), the first: "
              f"{problems[0]}")
    write_json(folder / "dataset.json", info)
    return info


def _listed(folder, images, table, options):
    """Completes the table and writes images.csv and boxes.csv; returns (records or boxes by class, what
    dataset.json says of boxes, None, the manifest's rows of rows of the table)."""
    pages, boxes = options.crops.records == "pages", {}
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
    write_text(folder / "images.csv", image_table(images, packed).to_csv(index=False))
    if pages:
        labelled["label_id"] = labelled["label"].map(code).astype(int)
        write_text(folder / "boxes.csv", labelled.to_csv(index=False, columns=BOX_COLUMNS))
        boxes = {"n_boxes": len(labelled), "boxes_sha256": sha256(folder / "boxes.csv")}
    return counts, boxes, None, lambda rows: rows


def _columns(folder, images, table, made, options):
    """The same of ImageColumns, whose products stay together, with the products by class as the second."""
    kept = images[table["image"].to_numpy()]
    first = kept.first_of_products()
    by_class = lambda codes: pd.Series(np.bincount(codes[codes >= 0], minlength=len(images.names)), images.names)
    write_parts(folder / "images.csv", images.image_table(made))
    return (by_class(kept.category), by_class(kept.category[first]), {}, first,
            lambda rows: images.named(rows).assign(source=options.source))


def _joined(codes, rows):
    """Series of str by `rows`: ascending, a space between. codes: Series of int by row, often several."""
    codes = codes.sort_values().astype(int).astype(str)
    return codes.groupby(level=0).agg(" ".join).reindex(rows, fill_value="")


def _told_of_classes(counts, options):
    """What else dataset.json says of the classes. counts: Series of what the folds part by class name.

    classes_below_n_folds: how many are in fewer records than there are folds, where --n_folds made
    some. known_classes: names, sorted, where the format tells known classes from others. Of several
    labels an image: multilabel, true; label_groups, class ids by what stands before `::` in their names
    ("" for none), in order of first appearance; attribute_ids, where the format has numbers of its own.
    class_levels, where they have levels: of each its name, its names, and into them which each class has. Of
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
    if options.class_levels is not None:
        told["class_levels"] = list(options.class_levels)
    return told
