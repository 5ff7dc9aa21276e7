#!/usr/bin/env python3
"""Packs images and annotations into TFRecord shards with a manifest, once, for every split.

  python create_tfrecords.py @recipes/kuzushiji/pack_gray124.args --data_dir=kaggle --out_dir=store
  python create_tfrecords.py --format=folder --data_dir=photos.zip --out_dir=data/photos --size=128
  python create_tfrecords.py --format=csv --data_dir=images --csv=labels.csv --out_dir=data/mine
"""
import os
import re
import sys

from arguments import Parser, number, on_off, output_name, path


def parse(argv=None):
    parser = Parser(description=__doc__, prog="create_tfrecords.py",
                    usage="create_tfrecords.py [@FILE] --data_dir DIR --out_dir DIR [options]")
    where = parser.add_argument_group("what and where")
    where.add_argument("--format", choices=["kuzushiji", "folder", "csv"], default="kuzushiji",
                       help="kuzushiji: pages with boxes in the Kaggle layout, a record per box; "
                            "folder: a folder (or zip) with a folder per class; "
                            "csv: a table path,label[,id][,group][,fold]")
    where.add_argument("--data_dir", type=path,
                       help="folder of the images (kuzushiji: of train.csv and train_images; "
                            "folder: or a zip file)")
    where.add_argument("--out_dir", type=path, help="folder of the packed store")
    where.add_argument("--csv", type=path,
                       help="annotations (default: DATA_DIR/train.csv, with --source=test "
                            "DATA_DIR/test.csv)")
    where.add_argument("--image_dir", type=path,
                       help="kuzushiji: folder of the pages (default: DATA_DIR/train_images, with "
                            "--source=test DATA_DIR/test_images)")
    where.add_argument("--source", choices=["train", "test"], default="train",
                       help="test: labels are not packed, only boxes, and it has no splits")
    where.add_argument("--name", type=output_name, help="of the shards (default: the source)")
    where.add_argument("--overwrite", action="store_true",
                       help="replace a store that was packed from other data or options")
    where.add_argument("--skip_bad", action="store_true",
                       help="leave bad rows out, counted and named, instead of stopping")

    record = parser.add_argument_group("records")
    record.add_argument("--size", type=number(int, 8, 4096), default=124,
                        help="side of the square record, px")
    record.add_argument("--channels", type=int, choices=[1, 3], default=3, help="1 gray, 3 RGB")
    record.add_argument("--fit", choices=["stretch", "pad", "crop"], default="stretch",
                        help="stretch: aspect ratio ignored; pad: kept, filled; crop: the middle")
    record.add_argument("--margin", type=number(float, 0, 10), default=0.05,
                        help="added to a box on each side, as a share of its width and height")
    record.add_argument("--local_contrast", type=on_off,
                        help="on/off: page cleaning, 4*image - 4*blur + 128 "
                             "(default: on for kuzushiji, else off)")
    record.add_argument("--denoise", type=on_off,
                        help="on/off: page cleaning, non-local means; nearly all of the packing "
                             "time (default: on for kuzushiji, else off)")
    record.add_argument("--encoding", choices=["png", "jpeg"],
                        help="(default: png for kuzushiji, else jpeg)")
    record.add_argument("--jpeg_quality", type=number(int, 1, 100), default=95, help="1 to 100")
    record.add_argument("--max_megapixels", type=number(float, above=0), default=200,
                        help="an image larger than this is refused before it is decoded")

    splits = parser.add_argument_group("splits, kept as columns of manifest.csv")
    splits.add_argument("--val_split", action="append", default=[], metavar="NAME=GROUP,...",
                        help="column split_NAME: these groups (books, drawers) validate, all "
                             "others train; may be given several times")
    splits.add_argument("--share_rare", type=on_off, default=False,
                        help="on/off: system A's rule for classes that one side of a split lacks "
                             "(20 crops moved if there are 210, else its crops on both sides)")
    splits.add_argument("--n_folds", type=number(int, 0), default=0,
                        help="column fold: stratified K-fold, 0 for none (or as the csv says)")
    splits.add_argument("--folds_by_group", type=on_off, default=False,
                        help="on/off: keep each group in one fold")
    splits.add_argument("--group_regex",
                        help=r"folder: its first group in the image's path is the group, "
                             r"e.g. '_(\d+)\.png$'")

    how = parser.add_argument_group("how")
    how.add_argument("--seed", type=number(int, 0), default=1, help="of the shuffling and splits")
    how.add_argument("--shard_mb", type=number(float, above=0), default=100,
                     help="size of a shard, MB")
    how.add_argument("--workers", type=number(int, 1), default=os.cpu_count(), help="processes")
    options = parser.parse_args(argv)
    for name in ("data_dir", "out_dir"):
        if getattr(options, name) is None:
            parser.error(f"--{name} is needed")

    pages = options.format == "kuzushiji"
    for name, value in (("local_contrast", pages), ("denoise", pages),
                        ("encoding", "png" if pages else "jpeg"), ("name", options.source),
                        ("csv", options.data_dir / f"{options.source}.csv"),
                        ("image_dir", options.data_dir / f"{options.source}_images")):
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.group_regex and options.format != "folder":
        parser.error("--group_regex goes with --format=folder")
    if not options.out_dir.name:
        parser.error(f"--out_dir={options.out_dir}: give the name of a folder to be made")
    try:
        re.compile(options.group_regex or "")
    except re.error as error:
        parser.error(f"--group_regex {options.group_regex!r} is no regular expression: {error}")
    options.val_splits = {}
    for text in options.val_split:
        name, _, groups = text.partition("=")
        if not groups or not name.isidentifier() or name in options.val_splits:
            parser.error(f"--val_split {text!r}: it must be NAME=GROUP,... with a NAME of letters, "
                         "digits and '_', each once")
        options.val_splits[name] = groups.split(",")
    if options.source == "test":  # nothing of it trains or validates
        options.val_splits, options.n_folds = {}, 0
    return options


def main(argv=None):
    options = parse(argv)
    # Only now, so that --help answers at once.
    import keras2
    from records.annotations import (AnnotationError, read_folder, read_kuzushiji, read_table)
    from records.chunks import CropOptions
    from records.packing import PackingError, PackingOptions, pack
    describe = {k: str(v) if hasattr(v, "parts") else v for k, v in vars(options).items()}
    crops = CropOptions(**{field: getattr(options, field)
                           for field in CropOptions.__dataclass_fields__})
    labelled = options.source == "train"
    try:
        if options.format == "kuzushiji":
            images, problems = read_kuzushiji(options.csv, options.image_dir)
        elif options.format == "folder":
            images, problems = read_folder(options.data_dir, options.group_regex, labelled)
        else:
            images, problems = read_table(options.csv, options.data_dir, labelled)
        keras2.import_tensorflow_quietly()
        pack(images, problems, PackingOptions(
            crops=crops, describe=describe,
            **{field: getattr(options, field) for field in PackingOptions.__dataclass_fields__
               if field not in ("crops", "describe")}))
    except (AnnotationError, PackingError) as error:
        sys.exit(f"create_tfrecords.py: {error}")
    except KeyboardInterrupt:
        sys.exit("create_tfrecords.py: interrupted; the same call goes on where it was")


if __name__ == "__main__":
    main()
