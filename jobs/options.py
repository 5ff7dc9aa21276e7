"""The options of run.py, in groups; nothing here imports TensorFlow, so that --help answers at once."""
import math

from arguments import Parser, number, on_off, or_none, output_name, path, values

JOBS = ("train", "val", "test", "submit", "score")
DESCRIPTION = """\
Trains a classifier on a packed store, validates it, predicts, writes and scores a submission.

  python run.py @recipes/demo/classify.args --job=train,val
  python run.py @recipes/kuzushiji/02_resnet152_gray112.args --batch_size=256 --job=train
  python run.py --job=test,submit --run_dir=runs/demo --data_tfrec_dir=data/demo/test

A recipe (@FILE) is a file with one option per line; options after it override it. `None` is none.
"""


def parse(argv=None):
    parser = Parser(prog="run.py", description=DESCRIPTION, usage="run.py [@RECIPE] [options]")
    what = parser.add_argument_group("what")
    what.add_argument("--task", choices=["classify"], default="classify", help="kind of model")
    what.add_argument("--job", type=_jobs, default="train,val", metavar="JOB,...",
                      help=f"any of {', '.join(JOBS)}; always run in this order. train: train a "
                           "run; val: its accuracy on the validation rows; test: predict a store; "
                           "submit: predictions to submission.csv and a page drawn; score: F1 of "
                           "submission.csv (default: train,val)")
    what.add_argument("--run_dir", type=path,
                      help="folder of the run (default: for train a new one in runs/, otherwise "
                           "the newest in runs/)")
    what.add_argument("--overwrite", action="store_true",
                      help="train: replace what is in --run_dir")
    what.add_argument("--seed", type=number(int, 0, 2**31 - 1), default=1,
                      help="of weights, order and augmentation")

    data = parser.add_argument_group("data")
    data.add_argument("--data_tfrec_dir", help="folder of the packed store (create_tfrecords.py)")
    data.add_argument("--data_dir", type=path,
                      help="submit: folder of the raw pages, to draw one "
                           "(test_images/, train_images/ or the pages themselves)")
    data.add_argument("--data_preds_dir", type=path,
                      help="test: folder of the predictions (default: RUN_DIR/predictions)")
    data.add_argument("--pack", type=path,
                      help="the recipe of create_tfrecords.py that packs this recipe's store; "
                           "run_training.sh packs with it")
    data.add_argument("--split", type=output_name,
                      help="split of the store to train and validate by (its column split_NAME); "
                           "None for no validation")
    data.add_argument("--val_fold", type=number(int, 0),
                      help="fold of the store that validates, instead of --split")
    data.add_argument("--undersample_to", type=number(int, 1),
                      help="classes with more training records are cut to a random so many, drawn "
                           "anew every epoch (system A: 2000)")
    data.add_argument("--oversample_to", type=number(int, 0), default=0, metavar="N",
                      help="training records of classes with fewer than N are repeated, N // count "
                           "more copies (system A: 100); 0 for none")
    data.add_argument("--oversample_val_to", type=number(int, 0), default=0, metavar="N",
                      help="validation records of rarer classes count N // count times more "
                           "(system A: 20); 0: each counts once")
    data.add_argument("--cache", choices=["auto", "decoded", "encoded", "none"], default="auto",
                      help="images in memory decoded, encoded, or not at all; auto: the first that "
                           "half of the free memory holds")
    data.add_argument("--truth_csv", type=path,
                      help="score: the annotated pages (image_id,labels); submit: colours the drawn "
                           "page by right and wrong")
    data.add_argument("--sample_submission", type=path,
                      help="submit: CSV whose image_id column names the pages that must be there "
                           "(default: the pages of the store)")

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
    net.add_argument("--head", choices=["l2_softmax", "softmax"], default="l2_softmax",
                     help="l2_softmax: cosine of feature and class weights over a temperature")
    net.add_argument("--temperature", type=number(float, above=0), default=0.05,
                     help="of l2_softmax")
    net.add_argument("--pooling", choices=["average", "gem"], default="average",
                     help="of the last feature map")
    net.add_argument("--n_channels", type=int, choices=[1, 3], help="1 gray, 3 RGB "
                     "(default: as in the store)")
    net.add_argument("--dim", type=number(int, 8), help="side of the network's input, px "
                     "(default: as in the store)")
    net.add_argument("--dim_pre", type=number(int, 8),
                     help="side of the stored records, px; refused if the store's differ")
    net.add_argument("--mean", type=values(float), default=[], metavar="X,...",
                     help="subtracted from the 0..1 image, one number or one per channel "
                          "(default: of the store)")
    net.add_argument("--std", type=values(float), default=[], metavar="X,...",
                     help="the image is then divided by it (default: of the store)")

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
    train.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0,
                       help="share of the target spread over all classes")
    train.add_argument("--monitor", choices=["val_accuracy", "val_loss", "loss", "accuracy"],
                       help="figure that chooses the best checkpoint (default: val_accuracy, "
                            "without validation loss)")
    train.add_argument("--validate_every_epochs", type=number(int, 1), default=1,
                       help="epochs; the last is always validated")

    augment = parser.add_argument_group("augmentation of training images")
    augment.add_argument("--rotate", type=number(float, 0, 180), default=0.0,
                         help="degrees, each way")
    augment.add_argument("--shear", type=number(float, 0, 60), default=0.0,
                         help="degrees, each way")
    augment.add_argument("--scale", type=number(float, 0, 0.9), default=0.0,
                         help="larger or smaller by up to this share")
    augment.add_argument("--shift", type=number(float, 0, 1), default=0.0,
                         help="share of the side, each way")
    augment.add_argument("--rrc_scale", type=_range, default=(1.0, 1.0), metavar="LOW,HIGH",
                         help="random resized crop: share of the area (system A: 0.85,0.9; "
                              "default: 1,1, no crop)")
    augment.add_argument("--rrc_ratio", type=_range, default=(1.0, 1.0), metavar="LOW,HIGH",
                         help="random resized crop: width over height (system A: 0.875,1.143; "
                              "default: 1,1)")
    augment.add_argument("--brightness", type=number(float, 0, 1), default=0.0,
                         help="factor 1 +- this")
    augment.add_argument("--contrast", type=number(float, 0, 1), default=0.0,
                         help="factor 1 +- this")
    augment.add_argument("--erase", type=number(float, 0, 1), default=0.0,
                         help="probability of RandomErasing (area 0.02-0.4, aspect 0.3-3.33)")
    augment.add_argument("--mixup", type=number(float, 0), default=0.0,
                         help="concentration of the Beta distribution; 0 for none")
    augment.add_argument("--eval_crop", type=number(float, 0.1, 1), default=1.0,
                         help="validation and test: side of the centred crop, as a share")

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

    options = parser.parse_args(argv)
    _check(parser, options)
    return options


def _jobs(text):
    import argparse
    import difflib
    given = text.split(",")
    for job in given:
        if job not in JOBS:
            close = difflib.get_close_matches(job, JOBS, 1, 0.4)
            raise argparse.ArgumentTypeError(
                f"{job!r} is not one of {', '.join(JOBS)}" +
                (f" (did you mean {close[0]}?)" if close else ""))
    return [job for job in JOBS if job in given]


def _range(text):
    import argparse
    parts = text.split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH") from None
    if not (0 < low <= high and math.isfinite(high)):
        raise argparse.ArgumentTypeError(f"{text!r}: it must be 0 < LOW <= HIGH")
    return low, high


def _check(parser, options):
    """Refuses what does not go together, before anything slow starts."""
    if not options.data_tfrec_dir and set(options.job) & {"train", "val", "test", "submit"}:
        parser.error("--data_tfrec_dir is needed: the store that create_tfrecords.py packed")
    if "score" in options.job and not options.truth_csv:
        parser.error("--job=score needs --truth_csv, the annotated pages")
    if "train" in options.job and "test" in options.job:
        parser.error("--job=train reads a training store and --job=test a test store: call run.py "
                     "twice")
    if options.split is not None and options.val_fold is not None:
        parser.error("--split and --val_fold both name a validation: give one")
    validated = options.split is not None or options.val_fold is not None
    if "val" in options.job and not validated:
        parser.error("--job=val needs --split or --val_fold, which say what validates")
    options.monitor = options.monitor or ("val_accuracy" if validated else "loss")
    if options.monitor.startswith("val_") and not validated:
        parser.error(f"--monitor={options.monitor} needs --split or --val_fold")
    if options.schedule == "multistep" and not options.milestones_epochs:
        parser.error("--schedule=multistep needs --milestones_epochs, such as 20,40,60")
    if options.warmup_epochs is None:
        options.warmup_epochs = min(1, options.n_epochs / 10)
    decays = options.schedule in ("cosine", "linear")
    if decays and options.decay_epochs is None and options.warmup_epochs == options.n_epochs:
        parser.error(f"--warmup_epochs={options.warmup_epochs:g} leaves nothing of "
                     f"--n_epochs={options.n_epochs} to --schedule={options.schedule}")
    if decays and options.min_lr > options.lr:
        parser.error(f"--min_lr={options.min_lr:g} is more than --lr={options.lr:g}")
    if (options.decay_epochs or 0) > options.n_epochs:
        parser.error(f"--decay_epochs={options.decay_epochs:g} is more than --n_epochs="
                     f"{options.n_epochs}")
    if options.milestones_epochs != sorted(set(options.milestones_epochs)):
        parser.error("--milestones_epochs must rise, such as 20,40,60")
    if not all(0 < value < math.inf for value in options.std):
        parser.error("--std must be above 0")
    if options.warmup_epochs > options.n_epochs:
        parser.error(f"--warmup_epochs={options.warmup_epochs:g} is more than "
                     f"--n_epochs={options.n_epochs}")
    if options.rrc_scale[1] > 1:
        parser.error(f"--rrc_scale={options.rrc_scale[0]},{options.rrc_scale[1]}: at most 1")
    if options.mixed_precision not in ("auto", "mixed_float16", "mixed_bfloat16", None):
        parser.error(f"--mixed_precision={options.mixed_precision}: it is auto, mixed_float16, "
                     "mixed_bfloat16 or None")
    if options.xla == "on" and (options.cpu_replicas or 1) > 1:
        parser.error("--xla=on does not work with several mirrored replicas")


if __name__ == "__main__":  # only looks whether the options are possible
    parse()
