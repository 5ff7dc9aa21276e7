"""Parses and checks the options of run.py; imports no TensorFlow, so that --help answers at once."""
import math

from arguments import Parser
from jobs import (augmentation_options, detector_options, option_groups, product_options, reading_options, text_options,
                  training_options)

LATER_JOBS = ("ensemble", "pseudo", "submit", "score")  # need no network
TASK_JOBS = {"classify": ("preview", "train", "val", "test", "predict", "grad_cam", "reidentify",
                          "fit_rescorer", "distribution", "products", *LATER_JOBS),
             "multilabel": ("preview", "train", "val", "test", "predict", "grad_cam", "stack", *LATER_JOBS),
             "detect": ("preview", "train", "val", "detect", "fit_rescorer", *LATER_JOBS),
             "text": ("preview", "train", "val", "test", "text_features")}
IMAGES = ("classify", "multilabel")  # the tasks of whole images
# What a task has for a default of its own; for detect as in system D.
TASK_DEFAULTS = {"classify": {}, "multilabel": dict(head="softmax", loss="bce", optimizer="adam", lr=1e-3), "detect": dict(
    backbone="resnet101d", dim=512, optimizer="adamw", lr=5e-5, batch_size=8, schedule="linear",
    affine_p=0.9, colour_p=0.5), "text": dict(backbone="crnn", optimizer="adam", lr=1e-3)}
DESCRIPTION = """\
Trains a classifier of images, a CenterNet that finds and reads the characters of pages, or a CRNN that
reads lines of text, on a packed store; validates it, predicts, writes and scores a submission.

  python run.py @recipes/demo/classify.args --data_tfrec_dir=data/demo/pack/train --job=train,val
  python run.py --data_tfrec_dir=data/demo/pack/test --run_dir=runs/demo --job=test,submit
  python run.py @recipes/demo/detect.args --data_tfrec_dir=data/demo/pack_pages/test --job=detect,submit

A recipe (@FILE) is a file with one option per line; options after it override it. `None` is none.
"""


def parse(argv=None):
    parser, groups = _parser()
    task = parser.parse_args(argv).task
    parser.set_defaults(**TASK_DEFAULTS[task])
    options = parser.parse_args(argv)
    for others, group in groups:
        if task not in others:
            _refuse(parser, options, [action.dest for action in group._group_actions],
                    f"goes with --task={' or '.join(others)}, not {task}")
    _check(parser, options)
    return options


def _refuse(parser, options, names, reason):
    """Stops if one of the options has another value than its default."""
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name} {reason}")


def _parser():
    """(the parser, [(tasks, group of the options that only these have)])"""
    parser = Parser(prog="run.py", description=DESCRIPTION, usage="run.py [@RECIPE] [options]")
    option_groups.add_what(parser, list(TASK_JOBS))
    option_groups.add_data(parser)
    groups = [(("classify",), option_groups.add_data_classify(parser)),
              (("multilabel",), option_groups.add_data_multilabel(parser))]
    option_groups.add_network(parser)
    groups += [(IMAGES, training_options.add_head(parser)),
               (IMAGES, training_options.add_examples(parser)),
               (("classify",), training_options.add_teacher(parser)),
               (("classify",), product_options.add_products(parser)),
               (("detect",), detector_options.add_detector(parser)),
               (("text",), text_options.add_text(parser))]
    training_options.add_training(parser)
    training_options.add_schedule(parser)
    training_options.add_fine_tuning(parser)
    augmentation_options.add_augmentation(parser)
    groups += [((*IMAGES, "text"), augmentation_options.add_geometry(parser)),
               (IMAGES, augmentation_options.add_augmentation_classify(parser)),
               (("detect",), detector_options.add_crops(parser)),
               (("detect",), detector_options.add_finding(parser))]
    reading_options.add_rescoring(parser)
    groups += [(IMAGES, reading_options.add_combining(parser)),
               (("multilabel",), reading_options.add_stacking(parser)),
               (("detect",), reading_options.add_merging(parser))]
    option_groups.add_device(parser)
    for task, defaults in TASK_DEFAULTS.items():
        for action in parser._actions:
            if action.dest in defaults:
                usual = "" if "default:" in action.help else f"default: {action.default}; "
                action.help += f" ({usual}default of {task}: {defaults[action.dest]})"
    return parser, groups


def _check(parser, options):
    """Refuses what does not go together, before anything slow starts."""
    wrong = [job for job in options.job if job not in TASK_JOBS[options.task]]
    if wrong:
        parser.error(f"--job={wrong[0]} does not go with --task={options.task}, which has "
                     f"{', '.join(TASK_JOBS[options.task])}")
    if not options.data_tfrec_dir and (options.task == "detect" or
                                       set(options.job) - {"score", "predict", "grad_cam"}):
        parser.error("--data_tfrec_dir is needed: the store that create_tfrecords.py packed")
    if "score" in options.job and not options.truth_csv:
        parser.error("--job=score needs --truth_csv, what is right")
    other = [job for job in options.job if job not in ("preview", "train", "val")]
    if {"preview", "train"} & set(options.job) and other:
        parser.error(f"--job={options.job[0]} is about a training store and --job={other[0]} about a "
                     "test store: call run.py twice")
    if options.preview_png.suffix != ".png":
        parser.error(f"--preview_png={options.preview_png}: a name that ends in .png")
    if "preview" in options.job and "val" in options.job and "train" not in options.job:
        parser.error("--job=preview goes alone or with train")
    reading_options.check(parser, options)
    if options.unread_csv and "score" not in options.job:
        parser.error("--unread_csv is for --job=score")
    _check_folds(parser, options)
    if options.split is not None and options.val_fold is not None:
        parser.error("--split and --val_fold both name a validation: give one")
    validated = options.split is not None or options.val_fold is not None
    if ("val" in options.job or options.only_val) and not validated:
        parser.error(f"{'--only_val' if options.only_val else '--job=val'} needs --split or --val_fold, "
                     "which say what validates")
    figures = {"classify": ["val_accuracy", "val_loss"], "multilabel": ["val_f2", "val_loss"],
               "detect": ["val_f1", "val_centre_f1"][options.classes == "none":],
               "text": ["val_cer", "val_exact", "val_loss"]}[options.task]
    allowed = (figures if validated else []) + ["loss", "accuracy"][:1 + (options.task != "detect")]
    options.monitor = options.monitor or allowed[0]
    if options.monitor.startswith("val_") and not validated:
        parser.error(f"--monitor={options.monitor} needs --split or --val_fold")
    if options.monitor not in allowed:
        parser.error(f"--monitor={options.monitor}: here it is one of {', '.join(allowed)}")
    augmentation_options.check(parser, options)
    if options.task == "detect":
        _check_detector(parser, options)
    training_options.check(parser, options)
    if options.task in IMAGES:
        training_options.check_classifier(parser, options)
    if options.task == "classify":
        product_options.check(parser, options)
    if options.task == "multilabel":
        training_options.check_multilabel(parser, options)
    if options.task == "text":
        text_options.check(parser, options)
    if not all(0 < value < math.inf for value in options.std):
        parser.error("--std must be above 0")
    if options.rrc_scale[1] > 1:
        parser.error(f"--rrc_scale={options.rrc_scale[0]},{options.rrc_scale[1]}: at most 1")
    if options.mixed_precision not in ("auto", "mixed_float16", "mixed_bfloat16", None):
        parser.error(f"--mixed_precision={options.mixed_precision}: it is auto, mixed_float16, "
                     "mixed_bfloat16 or None")
    if options.xla == "on" and (options.cpu_replicas or 1) > 1:
        parser.error("--xla=on does not work with several mirrored replicas")


def _check_folds(parser, options):
    o = options
    o.last_fold = o.n_folds if o.final_fold is None else o.final_fold
    if o.n_folds is None:
        return
    if o.run_dir is None:
        parser.error("--n_folds needs --run_dir, the folder of the folds' runs")
    if not o.initial_fold < o.last_fold <= o.n_folds:
        parser.error(f"--initial_fold={o.initial_fold} --final_fold={o.last_fold}: of {o.n_folds} folds the "
                     "first is 0, and the final one is where to stop")
    if set(o.job) - {"train", "val", "test"} or o.split is not None:
        parser.error("--n_folds goes with --job=train, val and test, and without --split")
    o.val_fold = o.initial_fold


def _check_detector(parser, options):
    if options.dim % 32:
        parser.error(f"--dim={options.dim}: the side of a training crop is a multiple of 32")
    if "submit" in options.job and options.classes == "none":
        parser.error("--job=submit needs characters that were read: --classes is none")
    if options.architecture != "pyramid":
        _refuse(parser, options, ["backbone", "weights", "stem_stride", "pyramid_channels",
                                  "head_channels"],
                f"is of --architecture=pyramid, not {options.architecture}")
    if options.architecture == "hourglass104" and options.dim % 128:
        parser.error(f"--dim={options.dim}: with --architecture=hourglass104 a multiple of 128")
    if options.classes != "branch":
        _refuse(parser, options, ["class_channels", "class_dropout", "class_weight"],
                f"is of --classes=branch, not {options.classes}")
    if options.centre_kernel != "gaussian":
        _refuse(parser, options, ["gaussian_overlap"], "is of --centre_kernel=gaussian")


if __name__ == "__main__":  # only looks whether the options are possible
    parse()
