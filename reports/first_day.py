"""What a set of images is like, to be looked at before anything is trained on it.

  python -m reports.first_day --data_tfrec_dir=data/imet --other=data/imet_test --out_dir=reports/imet
  python -m reports.first_day --images=photos --out_dir=reports/photos

statistics.csv (of, statistic, value): mean, std, min and max of red, green, blue (0..1), hue (degrees),
saturation and value (0..1) over all pixels, each counting once; the same and quantiles of height, width
(px of the originals), aspect (width / height), and of the labels of a record. labels.csv: each label's
count and share of the records. pairs.csv, of stores with several labels a record: how often two occur
together, and the lift over chance. Plots: sizes.png, channels.png, labels.png, together.png. The pixels
are those of the records where a store is given. With --other, a second set stands beside the first, in
columns that end in _other. Memory: one image, its size and labels by record, and 200 MB.
"""
import pathlib
import sys

from arguments import Parser, path


class FirstDayError(ValueError):
    """A set of which there are no statistics."""


class ImageSet:
    """A set's name, `pixels` (PixelStatistics), sizes [(width, height)], class_names, groups of the classes
    or None, `has` (membership, or None without labels), and whether records may have several labels."""

    def __init__(self, name):
        from reports.image_statistics import PixelStatistics
        self.name, self.pixels, self.sizes = name, PixelStatistics(), []
        self.class_names, self.groups, self.has, self.multilabel = [], None, None, False

    def rows(self):
        """[(of, statistic, value)]"""
        from reports.image_statistics import size_rows, summary_rows
        rows = [("images", "count", len(self.sizes)), ("pixels", "count", self.pixels.moments.count),
                *self.pixels.rows(), *size_rows(self.sizes)]
        if self.has is not None:
            rows += [("records", "count", self.has.shape[0]), ("labels", "count", len(self.class_names)),
                     *summary_rows("labels of a record", self.labels_of_records())]
        return rows

    def labels_of_records(self):
        """int [n]"""
        return self.has.getnnz(axis=1)


def of_store(folder):
    """The ImageSet of a packed store."""
    from records.images import decode_image
    from records.store import open_store
    from records.stored_images import stored_images
    from reports.label_statistics import membership
    store = open_store(folder)
    result = ImageSet(pathlib.PurePosixPath(str(folder).rstrip("/")).name)
    for _, data in _progress(stored_images(store), len(store.manifest), result.name):
        result.pixels.add(decode_image(data))
    result.sizes = store.images()[["width", "height"]].to_numpy().tolist()
    result.class_names, result.multilabel = store.class_names, bool(store.info.get("multilabel"))
    if store.class_names:
        result.has = membership(_label_ids(store, result.multilabel), len(store.class_names))
        result.groups = _groups(store.info.get("label_groups"), store.class_names)
    return result


def _label_ids(store, multilabel):
    """For each record its class ids as text; of pages, those on it count once."""
    if multilabel:
        if "label_ids" not in store.manifest:
            raise FirstDayError(f"{store.folder}: dataset.json says multilabel, but manifest.csv has no column "
                                "label_ids: repack the store")
        return store.manifest["label_ids"].tolist()
    if store.info["records"] == "pages":
        on_page = store.boxes().groupby("image_id")["label_id"].agg(lambda own: " ".join(map(str, own)))
        return [on_page.get(name, "") for name in store.manifest["image_id"]]
    return ["" if label < 0 else str(label) for label in store.manifest["label_id"]]


def _groups(label_groups, class_names):
    """The group of each class, "" where it is in none; None where there are no groups.

    label_groups: {group: its class ids, or names}, or a group for each class."""
    if not label_groups:
        return None
    if isinstance(label_groups, list):
        return label_groups
    numbers = {name: k for k, name in enumerate(class_names)}
    groups = [""] * len(class_names)
    for group, members in label_groups.items():
        for member in members:
            groups[numbers.get(member, member)] = group
    return groups


def of_folder(folder):
    """The ImageSet of a folder or zip of images; folders in it are labels if all images lie in one."""
    from records.image_sets import read_folder
    from records.images import BadImage, decode_image
    from reports.label_statistics import membership
    images, problems = read_folder(folder, labelled=False)
    result, labels, bad = ImageSet(pathlib.Path(folder).name), [], list(map(str, problems))
    for image in _progress(images, len(images), result.name):
        try:
            pixels = decode_image(image.read())
        except BadImage as error:
            bad.append(f"{image.image_id}: {error}")
            continue
        result.pixels.add(pixels)
        result.sizes.append((pixels.shape[1], pixels.shape[0]))
        labels.append(image.labels[0])
    if bad:
        print(f"left out {len(bad)} bad images, the first: {bad[0]}")
    if not labels:
        raise FirstDayError(f"{folder}: no image can be read")
    if "." not in labels:
        result.class_names = sorted(set(labels))
        number = {name: str(k) for k, name in enumerate(result.class_names)}
        result.has = membership([number[label] for label in labels], len(number))
    return result


def _progress(items, total, name):
    from tqdm import tqdm
    return tqdm(items, desc=f"looking at {name}", total=total, unit=" images", delay=2)


def write_report(out_dir, first, other=None):
    """Writes the tables and plots of an ImageSet, and of another beside it; returns statistics.csv's table."""
    import pandas as pd
    from records.files import write_text
    from reports import first_day_plots as plots
    from reports.label_statistics import label_table, pair_table
    out_dir.mkdir(parents=True, exist_ok=True)
    sets = [first] + ([other] if other else [])
    both = _side_by_side([pd.DataFrame(own.rows(), columns=["of", "statistic", "value"]) for own in sets],
                         ["of", "statistic"])
    save = lambda name, table: write_text(out_dir / name, table.to_csv(index=False, lineterminator="\n",
                                                                       float_format="%.12g"))
    save("statistics.csv", both)
    names = _distinct([own.name for own in sets])
    plots.draw_sizes(out_dir / "sizes.png", {name: own.sizes for name, own in zip(names, sets)})
    plots.draw_channels(out_dir / "channels.png", {name: own.pixels.counts for name, own in zip(names, sets)})
    labelled = [(name, own) for name, own in zip(names, sets) if own.has is not None]
    if labelled and labelled[0][1] is first:
        tables = {name: label_table(own.has, own.class_names, own.groups) for name, own in labelled}
        save("labels.csv", _side_by_side(list(tables.values()), ["label"]))
        plots.draw_labels(out_dir / "labels.png", tables, {name: own.labels_of_records()
                                                           for name, own in labelled})
    if first.multilabel and first.has is not None:
        pairs = [pair_table(own.has, own.class_names) for _, own in labelled if own.multilabel]
        save("pairs.csv", _side_by_side(pairs, ["label_a", "label_b"]))
        plots.draw_together(out_dir / "together.png", first.has, first.class_names)
    return both


def _side_by_side(tables, keys):
    """The second table's columns, ending in _other, beside the first's; rows of either, the first's first."""
    if len(tables) == 1:
        return tables[0]
    second = tables[1].drop(columns=[c for c in ("group",) if c in tables[1] and c not in keys])
    joined = tables[0].merge(second, "outer", keys, suffixes=("", "_other"))
    order = {key: place for place, key in enumerate(dict.fromkeys(
        [tuple(row) for table in tables for row in table[keys].to_numpy().tolist()]))}
    place = [order[tuple(row)] for row in joined[keys].to_numpy().tolist()]
    return joined.assign(_place=place).sort_values("_place", ignore_index=True).drop(columns="_place")


def _distinct(names):
    return names if len(set(names)) == len(names) else [names[0], f"{names[1]} (other)"]


def main(argv=None):
    parser = Parser(prog="python -m reports.first_day", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data_tfrec_dir", metavar="STORE", help="a packed store")
    what.add_argument("--images", type=path, metavar="FOLDER", help="a folder of images, or a zip of one")
    parser.add_argument("--other", metavar="STORE", help="a second store (with --images: a folder), beside it")
    parser.add_argument("--out_dir", type=path, required=True, help="folder of the tables and plots")
    options = parser.parse_args(argv)
    if options.data_tfrec_dir:
        import keras2
        keras2.import_tensorflow_quietly()
    from records.annotations import AnnotationError
    from records.images import BadImage
    known = [AnnotationError, BadImage, FirstDayError, OSError]
    if options.data_tfrec_dir:
        from records.store import StoreError
        known.append(StoreError)
    from reports.label_statistics import LabelError
    try:
        read = of_store if options.data_tfrec_dir else of_folder
        first = read(options.data_tfrec_dir or options.images)
        other = read(options.other) if options.other else None
        table = write_report(options.out_dir, first, other)
    except (*known, LabelError) as error:
        sys.exit(f"first_day: {error}")
    print(table.to_string(index=False, float_format="%.5g"))
    print(f"looked at: {len(first.sizes)} images" + (f" and {len(other.sizes)} others" if other else "") +
          f" -> {options.out_dir}")


if __name__ == "__main__":
    main()
