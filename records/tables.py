"""The tables of a store: a row per record, with its splits; per image; per box of packed pages."""
import numpy as np
import pandas as pd

from records.image_columns import ImageColumns
from records.layout import BOX_COLUMNS
from records.splits import (assign_folds, assign_multilabel_folds, assign_product_folds, share_rare_classes,
                            split_by_group)


def record_table(images, records, options):
    """A row per record, in annotation order, with its splits and fold; records: as CropOptions has.

    A page has neither box nor label: those on it are box_table's. An image of several labels has ""
    for its label, and `labels`, a list of names; the label of a line of text is the text. Of ImageColumns
    the rows hold numbers only, `image`, `label_id` and `fold`: their names are made when they are written.
    options: PackingOptions. Raises ValueError for splits that cannot be.
    """
    if isinstance(images, ImageColumns):
        return pd.DataFrame({
            "image": np.arange(len(images)), "label_id": images.category,
            "fold": assign_product_folds(images.first_of_products(), len(images), images.category,
                                         options.n_folds, options.seed) if options.n_folds else -1})
    rows = []
    for image in images:
        labels = [""] if records == "pages" or options.multilabel else image.labels
        boxes = image.boxes.tolist() if records == "boxes" else [[None] * 4]
        rows += [(record_id, image.image_id, *box, image.group, label, image.fold)
                 for record_id, box, label in zip(image.record_ids(records), boxes, labels,
                                                  strict=True)]
    table = pd.DataFrame(rows, columns=["id", "image_id", "x", "y", "w", "h", "group", "label",
                                        "fold"]).astype({c: "Int64" for c in "xywh"})
    if any(image.scores is not None for image in images):
        table["score"] = np.concatenate([image.scores for image in images])
    if options.multilabel:
        table["labels"] = pd.Series([image.labels for image in images], dtype=object)
        for name in ("share_rare", "folds_by_group"):
            if getattr(options, name):
                raise ValueError(f"--{name} goes with one label an image, and these have several: "
                                 f"give --{name}=off")
    if options.text and options.share_rare:
        raise ValueError("--share_rare is for classes, and these are lines of text: give --share_rare=off")
    for name, val_groups in options.val_splits.items():
        split = split_by_group(table["group"], val_groups)
        if options.share_rare:
            split = share_rare_classes(split, table["label"], options.seed)
        table[f"split_{name}"] = split
    if options.n_folds and options.multilabel:
        table["fold"] = assign_multilabel_folds(table["labels"], options.n_folds, options.seed)
    elif options.n_folds:
        strata = [""] * len(table) if options.text else table["label"]
        table["fold"] = assign_folds(strata, table["group"], options.n_folds, options.seed,
                                     options.folds_by_group)
    return table


def box_table(images, packed):
    """A row per box of the images whose id is in `packed`, in annotation order; no label_id yet."""
    rows = [(image.image_id, label, *box)
            for image in images if image.image_id in packed
            for label, box in zip(image.labels, image.boxes.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=[c for c in BOX_COLUMNS if c != "label_id"])


def image_table(images, packed):
    """A row per image, as announced. packed: Series of the number of records by image_id."""
    return pd.DataFrame([(i.image_id, i.width, i.height, packed.get(i.image_id, 0), i.group)
                         for i in images],
                        columns=["image_id", "width", "height", "records", "group"])
