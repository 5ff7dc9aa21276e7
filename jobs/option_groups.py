"""The options of run.py in groups: those of every task and those of classification alone."""
import argparse
import difflib

from arguments import number, on_off, or_none, output_name, path, values

JOBS = ("preview", "train", "val", "test", "detect", "submit", "score")
MONITORS = ("val_accuracy", "val_loss", "val_f1", "val_centre_f1", "loss", "accuracy")


def add_what(parser, tasks):
    what = parser.add_argument_group("what")
    what.add_argument("--task", choices=tasks, default="classify",
                      help="classify: whole images or crops; detect: the characters of pages")
    what.add_argument("--job", type=_jobs, default="train,val", metavar="JOB,...",
                      help=f"any of {', '.join(JOBS)}; always run in this order. preview: a "
                           "picture of augmented training examples; train: train a run; val: its "
                           "scores on the validation rows; test: classify a store; "
                           "detect: find (and read) the characters of a store of pages; submit: "
                           "submission.csv, and a page drawn; score: F1 of submission.csv "
                           "(default: train,val)")
    what.add_argument("--run_dir", type=path,
                      help="folder of the run (default: for train a new one in runs/, otherwise "
                           "the newest in runs/)")
    what.add_argument("--overwrite", action="store_true",
                      help="train: replace what is in --run_dir")
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
    data.add_argument("--cache", choices=["auto", "decoded", "file", "encoded", "none"],
                      default="auto",
                      help="images in memory decoded, encoded, or not at all; auto: the first that "
                           "half of the free memory holds; file: decoded in a file on a fast disk")
    data.add_argument("--cache_dir",
                      help="folder of --cache=file (default: STORE/cache)")
    data.add_argument("--truth_csv", type=path,
                      help="score: the annotated pages (image_id,labels); submit: colours the drawn "
                           "page by right and wrong")
    data.add_argument("--unread_csv", type=path,
                      help="score: CSV image_id,kind,x,y,w,h of writing that is not to be read (ruby "
                           "notes, shine-through): what was read there is counted by kind")
    data.add_argument("--sample_submission", type=path,
                      help="submit: CSV whose image_id column names the pages that must be there "
                           "(default: the pages of the store)")


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


def add_head(parser):
    head = parser.add_argument_group("head, loss and evaluation of --task=classify")
    head.add_argument("--head", choices=["l2_softmax", "softmax"], default="l2_softmax",
                      help="l2_softmax: cosine of feature and class weights over a temperature")
    head.add_argument("--temperature", type=number(float, above=0), default=0.05,
                      help="of l2_softmax")
    head.add_argument("--pooling", choices=["average", "gem"], default="average",
                      help="of the last feature map")
    head.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0,
                      help="share of the target spread over all classes")
    head.add_argument("--eval_crop", type=number(float, 0.1, 1), default=1.0,
                      help="validation and test: side of the centred crop, as a share")
    return head


def add_training(parser):
    train = parser.add_argument_group("training")
    train.add_argument("--n_epochs", type=number(int, 1), default=20, help="epochs")
    train.add_argument("--batch_size", type=number(int, 1), default=64,
                       help="records per step, over all devices")
    train.add_argument("--optimizer", choices=["sgd", "adam", "adamw"], default="sgd",
                       help="weight decay is coupled for sgd and adam, decoupled for adamw")
    train.add_argument("--lr", type=number(float, above=0), default=0.1,
                       help="highest learning rate, for the whole batch, whatever its size")
    train.add_argument("--lr_per_256", type=on_off, default=False,
                       help="on/off: --lr is for a batch of 256 and scales with --batch_size")
    train.add_argument("--momentum", type=number(float, 0, 1), default=0.9, help="of sgd")
    train.add_argument("--nesterov", type=on_off, default=False, help="on/off, of sgd")
    train.add_argument("--weight_decay", type=number(float, 0), default=1e-4, help="0 for none")
    train.add_argument("--decay_norms_and_biases", type=on_off, default=False,
                       help="on/off: weight decay on them too, as PyTorch does by default")
    train.add_argument("--schedule", choices=["constant", "multistep", "cosine", "linear"],
                       default="cosine", help="of the learning rate, after the warm-up")
    train.add_argument("--warmup_epochs", type=number(float, 0),
                       help="of linear warm-up, per step; epochs (default: 1, or a tenth of "
                            "--n_epochs if that is less)")
    train.add_argument("--milestones_epochs", type=values(float), default=[], metavar="E,...",
                       help="multistep: epochs at which the learning rate is multiplied")
    train.add_argument("--lr_factor", type=number(float, above=0), default=0.1,
                       help="multistep: by which it is multiplied")
    train.add_argument("--min_lr", type=number(float, 0), default=0.0,
                       help="cosine, linear: learning rate at the end")
    train.add_argument("--decay_epochs", type=number(float, above=0),
                       help="cosine, linear: length (default: from the warm-up to the end)")
    train.add_argument("--monitor", choices=MONITORS,
                       help="figure that chooses the best checkpoint (default: val_accuracy, "
                            "detect val_f1 or, without classes, val_centre_f1; without "
                            "validation loss)")
    train.add_argument("--validate_every_epochs", type=number(int, 1), default=1,
                       help="epochs; the last is always validated")


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


def _jobs(text):
    given = text.split(",")
    for job in given:
        if job not in JOBS:
            close = difflib.get_close_matches(job, JOBS, 1, 0.4)
            raise argparse.ArgumentTypeError(
                f"{job!r} is not one of {', '.join(JOBS)}" +
                (f" (did you mean {close[0]}?)" if close else ""))
    return [job for job in JOBS if job in given]
