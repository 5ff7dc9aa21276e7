"""The layout of a packed store, for those who write it and those who read it.

  dataset.json    class names, counts, statistics, options, a checksum per shard; written last
                  (of pictures kept as they are mean and std are of mean_std_sampled_of of them)
  manifest.csv    a row per record, in shard order, those of a product side by side. Of lines of text, label is
                  the text and label_id -1; class_names are the characters, which dataset.json has as `characters`
                  too. Only where an image has several labels, or none: label_ids, whole numbers into class_names,
                  ascending, separated by a space; label
                  and label_id are then those of unlabelled records, "" and -1
  images.csv      a row per source image: image_id, width, height (px), records, group
  boxes.csv       only where the records are pages: a row per box, px of the page as it was
  NAME-00000-of-0000N.tfrecord  or, --shard_by=fold, fold.K.tfrecord-00000-of-0000N, each of one
                  fold, and NAME.tfrecord-00000-of-0000N of records without one
"""
FORMAT_VERSION = 2  # of all of it; a reader refuses another
FLOAT_COLUMNS = ("score",)  # of manifest.csv, where the boxes are a detector's
TEXT_COLUMNS = ("id", "shard", "image_id", "group", "label", "label_ids", "source")  # of it; and split_*
BOX_COLUMNS = ("image_id", "label", "label_id", "x", "y", "w", "h")  # of boxes.csv
