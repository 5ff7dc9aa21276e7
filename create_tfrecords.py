#!/usr/bin/env python3
"""Packs images and annotations into TFRecord shards with a manifest, once, for every split.

Boxes of pages, a record each, for a classifier; and the pages with their boxes, for a detector:
  python create_tfrecords.py @recipes/kuzushiji/pack_gray124.args --data_dir=kaggle --out_dir=store
  python create_tfrecords.py --records=pages --data_dir=kaggle --out_dir=data/pages --n_folds=10
Pages to be read, scans in a folder; and then the boxes that run.py --job=detect found on them:
  python create_tfrecords.py --source=test --records=pages --data_dir=scans --out_dir=data/scans
  python create_tfrecords.py --source=test --detections=found.csv --data_dir=scans --out_dir=data/b
Any other detection set, in COCO's JSON; any other classification set:
  python create_tfrecords.py --format=coco --json=instances.json --image_dir=images --out_dir=data/c
  python create_tfrecords.py --format=folder --data_dir=photos.zip --out_dir=data/photos --size=128
  python create_tfrecords.py --format=csv --data_dir=images --csv=labels.csv --out_dir=data/mine
Lines of text with what stands there, path,text; columns of pages, cut out of boxes of characters:
  python create_tfrecords.py --format=text --data_dir=words --csv=words.csv --out_dir=data/words --size=32
  python create_tfrecords.py @recipes/demo/pack_columns.args --data_dir=data/demo/pages --out_dir=data/columns
Turtle Recall's individuals, in 5 folds with shards of their own; and its test set:
  python create_tfrecords.py @recipes/turtle/pack512.args --data_dir=turtles --out_dir=data/t512
  python create_tfrecords.py @recipes/turtle/pack512.args --source=test --data_dir=turtles --out_dir=data/tt
iMet's artworks, with several labels each, in 5 folds that share out every label; and its test set:
  python create_tfrecords.py @recipes/imet/pack416.args --data_dir=imet --out_dir=data/i416
  python create_tfrecords.py @recipes/imet/pack416.args --source=test --data_dir=imet --out_dir=data/it
Cdiscount's products, a record per picture, in 5 folds that keep a product together; and its test set:
  python create_tfrecords.py --format=cdiscount --n_folds=5 --data_dir=cdiscount --out_dir=data/c180
  python create_tfrecords.py --format=cdiscount --source=test --data_dir=cdiscount --out_dir=data/ct
"""
import os
import re
import sys

from arguments import Parser, number, on_off, output_name, path

GOES_WITH = {  # options that only some formats have
    "csv": ["kuzushiji", "csv", "text"], "json": ["coco"], "image_dir": ["kuzushiji", "coco"],
    "records": ["kuzushiji", "coco", "cdiscount"], "detections": ["kuzushiji", "cdiscount"],
    "bson": ["cdiscount"],
    "pseudo": ["kuzushiji", "folder", "csv", "turtle", "imet"],
    "group_regex": ["folder", "coco"]}


def add_where(parser):
    where = parser.add_argument_group("what and where")
    where.add_argument("--format", default="kuzushiji",
                       choices=["kuzushiji", "coco", "folder", "csv", "text", "turtle", "imet", "cdiscount"],
                       help="kuzushiji: pages with boxes in the Kaggle layout; "
                            "coco: images with boxes in COCO's JSON; "
                            "folder: a folder (or zip) with a folder per class; "
                            "csv: a table path,label[,id][,group][,fold], or for images of several "
                            "labels or none path,labels[,...], names separated by |; "
                            "text: a table path,text[,id][,group][,fold], each image a line of text; "
                            "turtle: train.csv and extra_images.csv (or test.csv) and images/ of Turtle "
                            "Recall; dataset.json marks the individuals of train.csv as known; "
                            "imet: train.csv, labels.csv and train/ (test: sample_submission.csv, or else all "
                            "that lies in test/) of the iMet Collection 2019, images of several labels; "
                            "cdiscount: train.bson (test: test.bson) and category_names.csv of products with "
                            "one or more pictures, whose JPEGs of --size are stored as they are; of 2048 of "
                            "them mean and std are taken")
    where.add_argument("--records", choices=["boxes", "pages", "titles", "columns"],
                       help="kuzushiji, coco: a record per box, or per page with its boxes kept "
                            "beside it in boxes.csv (default: boxes for kuzushiji, pages for "
                            "coco); of folder, csv, text, turtle, imet and cdiscount each image is a record. Of "
                            "cdiscount with --source=test also pages, for a detector, or boxes, those of "
                            "--detections, either of which takes 3 kB of memory a picture. titles: of "
                            "kuzushiji, a record per page, whose label is its book; columns: of kuzushiji, a "
                            "record per column of characters, turned so that it reads from left to right, whose "
                            "label is its text")
    where.add_argument("--data_dir", type=path,
                       help="folder of the images (kuzushiji: of train.csv and train_images; "
                            "turtle, imet, cdiscount: of its tables and images; folder: or a zip file; coco: "
                            "--image_dir will do)")
    where.add_argument("--out_dir", type=path, help="folder of the packed store")
    where.add_argument("--csv", type=path,
                       help="annotations (default: DATA_DIR/train.csv, with --source=test "
                            "DATA_DIR/test.csv). Pages to be read need no boxes in it, and no CSV: "
                            "without DATA_DIR/test.csv they are all images in IMAGE_DIR")
    where.add_argument("--json", type=path,
                       help="coco: the annotations, a file like instances_train2017.json. It is "
                            "read into memory, of which it needs about twice its size. Boxes are "
                            "rounded outward to whole px (no default)")
    where.add_argument("--bson", type=path,
                       help="cdiscount: the products (default: DATA_DIR/train.bson, with --source=test "
                            "DATA_DIR/test.bson). An index of it is kept beside OUT_DIR")
    where.add_argument("--image_dir", type=path,
                       help="kuzushiji: folder of the pages (default: DATA_DIR/train_images, with "
                            "--source=test DATA_DIR/test_images, or DATA_DIR if there is none); "
                            "coco: what file names are relative to (default: DATA_DIR)")
    where.add_argument("--detections", type=path,
                       help="kuzushiji, cdiscount, --source=test, a record per box: the boxes, as run.py "
                            "--job=detect writes them: image_id,x,y,w,h,score,label,label_score, "
                            "px (default: those of --csv)")
    where.add_argument("--pseudo", type=path,
                       help="labels that run.py --job=pseudo gave to unlabelled images, a CSV with its "
                            "JSON: of kuzushiji a record per box, of the others (id,label) per "
                            "image; what has none is left out. Sets --source=pseudo")
    where.add_argument("--source", choices=["train", "test", "pseudo"], default="train",
                       help="test: labels are not packed, of pages not even boxes, and it has no "
                            "splits; pseudo: see --pseudo")
    where.add_argument("--name", type=output_name, help="of the shards (default: the source)")
    where.add_argument("--overwrite", action="store_true",
                       help="replace a store that was packed from other data or options")
    where.add_argument("--skip_bad", action="store_true",
                       help="leave bad rows out, counted and named, instead of stopping")


def add_record(parser):
    record = parser.add_argument_group("records")
    record.add_argument("--size", type=number(int, 8, 4096),
                        help="side of the square record, or height of a line of text, px (default: 32 for lines, "
                             "180 for images and pages of cdiscount, 1536 for other pages, else 124)")
    record.add_argument("--channels", type=int, choices=[1, 3], default=3, help="1 gray, 3 RGB")
    record.add_argument("--aspect", type=number(float, 0.05, 100),
                        help="of pages: height:width that they are padded to, at the right or the bottom, "
                             "before they are resized to the square (default: 1.5 for kuzushiji, else 1); of "
                             "lines of text: width:height of the record (default: 4, of columns 20)")
    record.add_argument("--fit", choices=["stretch", "stretch_area", "pad", "crop", "line", "column"],
                        help="of boxes and images. stretch: aspect ratio ignored; stretch_area: so "
                             "too, but averaging along a side that shrinks while the other grows; "
                             "pad: kept, filled; crop: the middle. Of an image 25 times as long as wide "
                             "stretch squeezes its length 25 times as much as its width, pad leaves a "
                             "strip a 25th of the record wide, crop shows a 25th of it; "
                             "line: a line of text, its aspect ratio kept, filled at both ends to --size x "
                             "--aspect wide; column: the same of what reads downwards, turned first "
                             "(default: stretch_area for imet, line for text, column for columns, else stretch)")
    record.add_argument("--margin", type=number(float, 0, 10),
                        help="added to a box on each side, as a share of its width and height "
                             "(default: 0.05, of columns 0)")
    record.add_argument("--most_characters", type=number(int, 1),
                        help="of a column: a longer one is cut into parts as even as can be (default: any)")
    record.add_argument("--local_contrast", type=on_off,
                        help="on/off: page cleaning, 4*image - 4*blur + 128 "
                             "(default: on for boxes and columns of kuzushiji, else off)")
    record.add_argument("--denoise", type=on_off,
                        help="on/off: page cleaning, non-local means; nearly all of the packing "
                             "time (default: on for boxes and columns of kuzushiji, else off)")
    record.add_argument("--encoding", choices=["png", "jpeg"],
                        help="(default: png for boxes and columns of kuzushiji, else jpeg)")
    record.add_argument("--jpeg_quality", type=number(int, 1, 100), default=95, help="1 to 100")
    record.add_argument("--max_megapixels", type=number(float, above=0), default=200,
                        help="an image larger than this is refused before it is decoded")


def add_splits(parser):
    splits = parser.add_argument_group("splits, kept as columns of manifest.csv")
    splits.add_argument("--val_split", action="append", default=[], metavar="NAME=GROUP,...",
                        help="column split_NAME: these groups (books, drawers) validate, all "
                             "others train; may be given several times")
    splits.add_argument("--share_rare", type=on_off, default=False,
                        help="on/off: system A's rule for classes that one side of a split lacks "
                             "(20 crops moved if there are 210, else its crops on both sides)")
    splits.add_argument("--n_folds", type=number(int, 0),
                        help="column fold: K-fold of the records, stratified by label, of several "
                             "labels by each, of cdiscount products with all their pictures, 0 for none (or "
                             "as the csv says; default: 5 for turtle and imet, else 0)")
    splits.add_argument("--folds_by_group", type=on_off, default=False,
                        help="on/off: keep each group in one fold")
    splits.add_argument("--group_regex",
                        help=r"folder, coco: its first group in the image's path is the group, "
                             r"e.g. '_(\d+)\.png$'")


def add_how(parser):
    how = parser.add_argument_group("how")
    how.add_argument("--seed", type=number(int, 0), default=1, help="of the shuffling and splits")
    how.add_argument("--shard_mb", type=number(float, above=0), default=100,
                     help="size of a shard, MB")
    how.add_argument("--shard_by", choices=["size", "fold"],
                     help="size: records of all folds together, NAME-00000-of-0000N.tfrecord; fold: "
                          "each shard of one fold, fold.K.tfrecord-00000-of-0000N (of records without "
                          "fold: NAME.tfrecord-...) (default: fold for turtle, else size)")
    how.add_argument("--workers", type=number(int, 1), default=os.cpu_count(), help="processes")


def parse(argv=None):
    parser = Parser(description=__doc__, prog="create_tfrecords.py",
                    usage="create_tfrecords.py [@FILE] --data_dir DIR --out_dir DIR [options]")
    for add in (add_where, add_record, add_splits, add_how):
        add(parser)
    options = parser.parse_args(argv)
    refuse_impossible(parser, options)
    fill_in_defaults(options)
    if options.shard_by == "fold" and re.fullmatch(r"fold\.\d+", options.name):
        parser.error(f"--name={options.name}: with --shard_by=fold that is the name of a fold's shards")
    options.val_splits = {}
    for text in options.val_split:
        name, _, groups = text.partition("=")
        if not groups or not name.isidentifier() or name in options.val_splits:
            parser.error(f"--val_split {text!r}: it must be NAME=GROUP,... with a NAME of letters, "
                         "digits and '_', each once")
        options.val_splits[name] = groups.split(",")
    if options.source != "train":  # nothing of it validates
        options.val_splits, options.n_folds = {}, 0
    return options


def refuse_impossible(parser, options):
    for name, formats in GOES_WITH.items():
        if getattr(options, name) is not None and options.format not in formats:
            parser.error(f"--{name} goes with --format={' or '.join(formats)}, not with "
                         f"--format={options.format}")
    if options.format == "coco":
        if options.json is None:
            parser.error("--json is needed: --format=coco reads its annotations from it")
        if options.image_dir is None and options.data_dir is None:
            parser.error("--image_dir (or --data_dir) is needed: the folder of the images")
    elif options.data_dir is None:
        parser.error("--data_dir is needed")
    if options.out_dir is None:
        parser.error("--out_dir is needed")
    if not options.out_dir.name:
        parser.error(f"--out_dir={options.out_dir}: give the name of a folder to be made")
    if (options.records or default_records(options)) == "pages":
        for name, remedy in (
                ("fit", "pages are padded to --aspect"), ("margin", "nothing is cut out of pages"),
                ("detections", "they are boxes: give --records=boxes"),
                ("share_rare", "its rule moves boxes: give --share_rare=off")):
            if getattr(options, name) is not None and getattr(options, name) is not False:
                parser.error(f"--{name} does not go with pages as records: {remedy}")
    elif options.aspect is not None and not lines_of_text(options):
        parser.error("--aspect goes with --records=pages, and with lines of text (--fit=line)")
    if options.format == "cdiscount":
        if (options.records == "boxes") != (options.detections is not None):
            parser.error("--format=cdiscount has boxes only by --records=boxes --detections=FILE")
        if options.records == "pages" and options.source != "test":
            parser.error("--records=pages of --format=cdiscount goes with --source=test: no box is known on them")
        for name in ("val_split", "share_rare", "folds_by_group"):
            if getattr(options, name):
                parser.error(f"--{name} does not go with --format=cdiscount: every product is a group, which "
                             "--n_folds keeps together")
    if options.detections is not None and options.source != "test":
        parser.error("--detections goes with --source=test: what a detector found has no true "
                     "labels to train on")
    if options.pseudo is not None and options.source == "test" or (
            options.pseudo is None and options.source == "pseudo"):
        parser.error("--pseudo=FILE and --source=pseudo go together")
    if options.pseudo is not None:
        options.source = "pseudo"
    if options.records == "titles" and (options.format != "kuzushiji" or options.detections or
                                        options.pseudo):
        parser.error("--records=titles goes with --format=kuzushiji, without --detections or --pseudo")
    if options.records == "columns" and (options.format != "kuzushiji" or options.pseudo or
                                         options.fit not in (None, "column")):
        parser.error("--records=columns goes with --format=kuzushiji, without --pseudo or --fit")
    if options.most_characters is not None and options.records != "columns":
        parser.error("--most_characters goes with --records=columns")
    if options.format == "text" and options.fit not in (None, "line", "column"):
        parser.error(f"--fit={options.fit} is not for --format=text: give line or column")
    try:
        re.compile(options.group_regex or "")
    except re.error as error:
        parser.error(f"--group_regex {options.group_regex!r} is no regular expression: {error}")


def lines_of_text(options):
    """Whether records are lines of text, of some width."""
    return options.format == "text" or options.records == "columns" or options.fit in ("line", "column")


def default_records(options):
    return {"kuzushiji": "boxes", "coco": "pages"}.get(options.format, "images")


def fill_in_defaults(options):
    """The defaults that depend on other options."""
    def default(name, value):
        if getattr(options, name) is None:
            setattr(options, name, value)
    kuzushiji = options.format == "kuzushiji"
    images = "test" if options.source == "pseudo" else options.source
    default("records", default_records(options))
    options.titles, options.columns = options.records == "titles", options.records == "columns"
    lines, options.text = lines_of_text(options), options.format == "text" or options.columns
    if options.titles:
        options.records = "images"
    if options.columns:
        options.records = "boxes"
    turtle = options.format == "turtle"
    pages, clean = options.records == "pages", kuzushiji and options.records == "boxes"
    products = options.format == "cdiscount" and options.records != "boxes"
    for name, value in (("name", options.source),
                        ("size", 32 if lines else 180 if products else 1536 if pages else 124),
                        ("local_contrast", clean), ("denoise", clean),
                        ("encoding", "png" if clean else "jpeg"),
                        ("n_folds", 5 if options.format in ("turtle", "imet") else 0),
                        ("shard_by", "fold" if turtle else "size")):
        default(name, value)
    if pages:
        default("aspect", 1.5 if kuzushiji else 1.0)
    else:
        default("fit", "column" if options.columns else "line" if lines else
                "stretch_area" if options.format == "imet" else "stretch")
        default("margin", 0.0 if options.columns else 0.05)
        if lines:
            default("aspect", 20.0 if options.fit == "column" else 4.0)
    if kuzushiji:
        folder = options.data_dir / f"{images}_images"
        default("image_dir", folder if folder.is_dir() else options.data_dir)
    if kuzushiji or options.format in ("csv", "text"):
        csv = options.data_dir / f"{images}.csv"
        if not only_pages_announced(options) or csv.is_file():  # else: what lies in the folder
            default("csv", csv)
    if options.format == "coco":
        default("image_dir", options.data_dir)
    if options.format == "cdiscount":
        default("bson", options.data_dir / f"{images}.bson")


def only_pages_announced(options):
    """Whether the CSV of pages is read for their names alone."""
    return options.format == "kuzushiji" and (
        options.source == "test" and options.records == "pages" or options.titles or
        (options.detections or options.pseudo) is not None)


def read(options):
    """(images, problems) of the format's reader."""
    from records.annotations import read_kuzushiji, read_pages
    from records.cdiscount import read_cdiscount
    from records.columns import into_columns
    from records.coco import read_coco
    from records.detections import add_detections
    from records.image_sets import read_folder, read_table
    from records.imet import read_imet
    from records.pseudo import pseudo_labelled
    from records.turtle import read_turtles
    labelled = options.source == "train"
    if options.format in ("folder", "csv", "text", "turtle", "imet"):
        images, problems = {
            "folder": lambda: read_folder(options.data_dir, options.group_regex, labelled),
            "csv": lambda: read_table(options.csv, options.data_dir, labelled),
            "text": lambda: read_table(options.csv, options.data_dir, labelled, text=True),
            "turtle": lambda: read_turtles(options.data_dir, labelled),
            "imet": lambda: read_imet(options.data_dir, labelled)}[options.format]()
        if options.pseudo:
            images, more = pseudo_labelled(images, options.pseudo)
            problems += more
        return images, problems
    if options.format == "coco":
        return read_coco(options.json, options.image_dir, options.group_regex,
                         annotated=labelled or options.records == "boxes")
    if options.format == "cdiscount":
        images, problems = read_cdiscount(options.bson, options.data_dir, options.out_dir.parent, labelled)
        if options.records != "images":
            images = [image.as_page() for image in images]
            if options.detections is not None:
                problems += add_detections(images, options.detections)
        return images, problems
    if only_pages_announced(options):
        images, problems = read_pages(options.csv, options.image_dir)
    else:
        images, problems = read_kuzushiji(options.csv, options.image_dir)
    if options.titles:
        for image in images:
            image.labels, image.boxes, image.numbers = [image.group], None, None
    boxes = options.detections or options.pseudo
    if boxes is not None:
        problems += add_detections(images, boxes, labelled=options.pseudo is not None)
    if options.columns:
        for image in images:
            into_columns(image, options.detections or options.csv, options.most_characters)
    return images, problems


def classes_of_format(options):
    """{field of PackingOptions: value}: what the format says of the classes beside the images' labels."""
    from records.cdiscount import class_levels, read_categories
    from records.image_sets import has_several_labels
    from records.imet import read_attributes
    from records.turtle import known_turtles
    if options.format == "turtle" and options.source == "train":
        return {"known_classes": tuple(known_turtles(options.data_dir))}
    if options.format == "imet":
        attributes = read_attributes(options.data_dir)
        return {"multilabel": True, "class_list": tuple(attributes.values()),
                "attribute_ids": tuple(attributes)}
    if options.format == "cdiscount" and options.records == "images":
        categories = read_categories(options.data_dir)
        return {"class_list": tuple(map(str, categories)), "class_levels": tuple(class_levels(categories))}
    if options.format == "csv" and has_several_labels(options.csv):
        return {"multilabel": True}
    return {}


def main(argv=None):
    options = parse(argv)
    # Only now, so that --help answers at once.
    import keras2
    from records.annotations import AnnotationError
    from records.chunks import CropOptions
    from records.packing import PackingError, PackingOptions, pack
    from records.pseudo import read_origin
    describe = {k: str(v) if hasattr(v, "parts") else v for k, v in vars(options).items()}
    crops = CropOptions(**{field: getattr(options, field)
                           for field in CropOptions.__dataclass_fields__})
    try:
        if options.pseudo is not None:
            describe["made_by"] = read_origin(options.pseudo)
        images, problems = read(options)
        told = classes_of_format(options)
        keras2.import_tensorflow_quietly()
        pack(images, problems, PackingOptions(
            crops=crops, describe=describe, **told,
            **{field: getattr(options, field) for field in PackingOptions.__dataclass_fields__
               if hasattr(options, field) and field != "crops"}))
    except (AnnotationError, PackingError) as error:
        sys.exit(f"create_tfrecords.py: {error}")
    except KeyboardInterrupt:
        sys.exit("create_tfrecords.py: interrupted; the same call goes on where it was")


if __name__ == "__main__":
    main()
