"""The options of run.py in groups: those of every task and those of classification alone."""
import argparse
import difflib

from arguments import number, on_off, or_none, output_name, path, values

JOBS = ("preview", "train", "val", "test", "text_features", "predict", "grad_cam", "reidentify", "detect", "ensemble",
        "stack", "products", "fit_rescorer", "pseudo", "distribution", "submit", "score")


def add_what(parser, tasks):
    what = parser.add_argument_group("what")
    what.add_argument("--task", choices=tasks, default="classify",
                      help="classify: whole images or crops, each of one class; multilabel: images with any "
                           "number of labels; detect: the characters of pages; text: what stands on lines of "
                           "text")
    what.add_argument("--job", type=_jobs, default="train,val", metavar="JOB,...",
                      help=f"any of {', '.join(JOBS)}; always run in this order. preview: a "
                           "picture of augmented training examples; train: train a run; val: its "
                           "scores on the validation rows; test: classify a store, or read its lines; "
                           "text_features: what a CRNN sees on the words of each image, as vectors; predict: classify "
                           "--images; grad_cam: where in --images a run sees their labels; "
                           "reidentify: who is it, by the nearest pictures; "
                           "detect: find (and read) the characters of a store of pages; ensemble: "
                           "what --members said of a store, as one; stack: a second level that learns "
                           "from what --members said out of fold; products: what --members said of the pictures "
                           "of products, as one for each product; fit_rescorer: learn which of the "
                           "characters read are false; pseudo: labels of what was read surely; "
                           "distribution: how often each class was read; submit: "
                           "submission.csv, and a page drawn; score: F1 of submission.csv "
                           "(default: train,val)")
    what.add_argument("--run_dir", type=path,
                      help="folder of the run (default: for train a new one in runs/, otherwise "
                           "the newest in runs/)")
    what.add_argument("--overwrite", action="store_true",
                      help="train, ensemble, products: replace what is in --run_dir")
    what.add_argument("--resume", choices=["auto", "on", "off"], default="auto",
                      help="train: go on with a run that was cut off. auto: with the run in --run_dir "
                           "if there is one (refused if its options differ), or without --run_dir "
                           "with the newest unfinished run of the same options in runs/; on: it must "
                           "be there; off: always a new one")
    what.add_argument("--dry_run", action="store_true",
                      help="train: only build the network, take a step and validate a batch; say "
                           "parameters, FLOPs, memory, speed, and how long the whole run would take")
    what.add_argument("--preview_png", type=path, default="preview.png",
                      help="preview: the picture")
    what.add_argument("--seed", type=number(int, 0, 2**31 - 1), default=1,
                      help="of weights, order and augmentation")


def add_data(parser):
    data = parser.add_argument_group("data")
    data.add_argument("--data_tfrec_dir", help="folder of the packed store (create_tfrecords.py)")
    data.add_argument("--data_dir", type=path,
                      help="submit: folder of the raw pages, to draw one "
                           "(test_images/, train_images/ or the pages themselves)")
    data.add_argument("--data_preds_dir", type=path,
                      help="test: folder of the predictions (default: RUN_DIR/predictions); detect: "
                           "of the detections (default: RUN_DIR/detections)")
    data.add_argument("--pack", type=path,
                      help="the recipe of create_tfrecords.py that packs this recipe's store; "
                           "run_training.sh packs with it")
    data.add_argument("--split", type=output_name,
                      help="split of the store to train and validate by (its column split_NAME); "
                           "None for no validation")
    data.add_argument("--val_fold", type=number(int, 0),
                      help="fold of the store that validates, instead of --split")
    data.add_argument("--n_folds", type=number(int, 2),
                      help="run the jobs for the folds of the store, each in a folder of --run_dir, and say "
                           "what they score together on what each did not train on; a fold that is "
                           "finished is passed over (default: one run)")
    data.add_argument("--initial_fold", type=number(int, 0), default=0, help="first of --n_folds")
    data.add_argument("--final_fold", type=number(int, 1),
                      help="the fold before which to stop (default: --n_folds)")
    data.add_argument("--images", nargs="+", default=[], metavar="PATH",
                      help="predict, grad_cam: images, folders of them, or patterns such as 'photos/*.jpg'")
    data.add_argument("--labels", type=values(str), default=[], metavar="NAME,...",
                      help="grad_cam: classes to look for (default: the 3 most probable of each image)")
    data.add_argument("--new_tfrec_dir", metavar="STORE",
                      help="reidentify: a store of individuals that the training store lacks, to learn "
                           "from which similarity on somebody is new")
    data.add_argument("--pseudo_tfrec_dir", metavar="STORE",
                      help="train: a store of pseudo-labelled records (create_tfrecords.py --pseudo) that "
                           "train too; they never validate")
    data.add_argument("--cache", type=_cache, choices=["auto", "decoded", "file", "encoded", "none"],
                      default="auto",
                      help="images in memory decoded, encoded, or not at all; auto: the first that "
                           "half of the free memory holds; file: decoded in a file on a fast disk")
    data.add_argument("--cache_gb", type=number(float, 0), metavar="G",
                      help="most memory of --cache=auto, GB (default: half of the free memory)")
    data.add_argument("--cache_dir",
                      help="folder of --cache=file (default: STORE/cache)")
    data.add_argument("--truth_csv", type=path,
                      help="score: the annotated pages (image_id,labels), of turtles image_id,turtle_id, or of "
                           "products _id,category_id, and perhaps part, a name of the part each is in; "
                           "submit: colours the drawn page by right and wrong")
    data.add_argument("--unread_csv", type=path,
                      help="score: CSV image_id,kind,x,y,w,h of writing that is not to be read (ruby "
                           "notes, shine-through): what was read there is counted by kind")
    data.add_argument("--score_csv", type=path,
                      help="score: a table that gets a row of this score, and is printed")
    data.add_argument("--score_name", help="score: name of the row, which takes the place of one of the "
                                           "same name (default: the run's folder)")
    data.add_argument("--sample_submission", type=path,
                      help="submit: CSV whose image_id column (of products _id) names the pages that must "
                           "be there (default: the pages of the store)")


def add_data_classify(parser):
    data = parser.add_argument_group("data of --task=classify")
    data.add_argument("--undersample_to", type=number(int, 1),
                      help="classes with more training records are cut to a random so many, drawn "
                           "anew every epoch (system A: 2000)")
    data.add_argument("--oversample_to", type=number(int, 0), default=0, metavar="N",
                      help="training records of classes with fewer than N are repeated, N // count "
                           "more copies (system A: 100); 0 for none")
    data.add_argument("--oversample_val_to", type=number(int, 0), default=0, metavar="N",
                      help="validation records of rarer classes count N // count times more "
                           "(system A: 20); 0: each counts once")
    data.add_argument("--buffer_size", type=number(int, 2), metavar="N",
                      help="shuffle N records at a time, drawn in blocks of up to 128 that are stored beside "
                           "each other (default: all records with each other). With --cache=none they are read "
                           "block by block, for stores that memory does not hold; about 4 N encoded records are "
                           "then in memory")
    return data


def add_data_multilabel(parser):
    data = parser.add_argument_group("data of --task=multilabel")
    data.add_argument("--label_group", metavar="NAME",
                      help="tell only the labels of this group apart, what stands before :: in their names "
                           "(iMet: culture, tag) (default: all)")
    data.add_argument("--least_records", type=number(int, 0), default=0, metavar="N",
                      help="leave out labels that fewer records of the store have; 0: none")
    data.add_argument("--thresholds", choices=["group", "label"], default="group",
                      help="val, ensemble, stack: the probability from which on a label is given, one for "
                           "each group of labels, or for each label that is frequent enough")
    data.add_argument("--least_labels", type=number(int, 0), default=0, metavar="N",
                      help="submit: so many at least, the most probable")
    return data


def add_network(parser):
    net = parser.add_argument_group("network")
    net.add_argument("--backbone", default="wide_resnet16_4",
                     help="a plain name (resnet152, seresnext101, efficientnet_b4, ...) or "
                          "PACKAGE:NAME (kecam:efficientnet.EfficientNetV1B4); a wrong one is "
                          "answered with close matches")
    net.add_argument("--stem_stride", type=number(int, 1, 4),
                     help="of the wide_resnet backbones: 2 makes large inputs cheap")
    net.add_argument("--weights",
                     help="imagenet, noisy-student, ..., a file, or None for a random start "
                          "(default: None)")
    net.add_argument("--n_channels", type=int, choices=[1, 3], help="1 gray, 3 RGB "
                     "(default: as in the store)")
    net.add_argument("--dim", type=number(int, 8), help="side of the network's input, px (default: "
                     "as in the store); detect: of a training crop")
    net.add_argument("--dim_pre", type=number(int, 8),
                     help="side of the stored records, px; refused if the store's differ")
    net.add_argument("--mean", type=values(float), default=[], metavar="X,...",
                     help="subtracted from the 0..1 image, one number or one per channel "
                          "(default: of the store)")
    net.add_argument("--std", type=values(float), default=[], metavar="X,...",
                     help="the image is then divided by it (default: of the store)")


def add_device(parser):
    device = parser.add_argument_group("device")
    device.add_argument("--tpu_ip_or_name", type=or_none(str), default="auto",
                        help="auto: a TPU if this machine has one, else all GPUs, else CPU; None: "
                             "never a TPU; local; a node's name; or grpc://IP:PORT. One that "
                             "cannot be reached is an error")
    device.add_argument("--tpu_project", help="Google Cloud project of a named node "
                                              "(default: this machine's)")
    device.add_argument("--tpu_zone", help="zone of a named node (default: this machine's)")
    device.add_argument("--tpu_version", help="TensorFlow version to set on a named node "
                                              "(default: this machine's)")
    device.add_argument("--cpu_replicas", type=number(int, 1),
                        help="try out several devices: split the CPU into so many")
    device.add_argument("--mixed_precision", type=or_none(str), default="auto",
                        help="mixed_float16, mixed_bfloat16 or None (float32); auto: bfloat16 on "
                             "TPU, float16 on GPUs with tensor cores, else float32")
    device.add_argument("--xla", choices=["auto", "on", "off"], default="auto",
                        help="compile the training step; auto: on a single GPU (a TPU always does)")
    device.add_argument("--steps_per_execution", type=number(int, 1), default=1,
                        help="steps per call of the compiled step; more suits a TPU")


def _cache(text):
    return {"on": "auto", "off": "none"}.get(text, text)  # system B's


def _jobs(text):
    given = text.split(",")
    for job in given:
        if job not in JOBS:
            close = difflib.get_close_matches(job, JOBS, 1, 0.4)
            raise argparse.ArgumentTypeError(
                f"{job!r} is not one of {', '.join(JOBS)}" +
                (f" (did you mean {close[0]}?)" if close else ""))
    return [job for job in JOBS if job in given]
