"""The options of run.py that say what is learned and how: head, loss, optimizer, rate, checkpoints."""
import argparse
import difflib

from arguments import number, on_off, path, values
from models.loss_specs import parse_loss  # neither this nor the next loads TensorFlow
from training import addons

MONITORS = ("val_accuracy", "val_loss", "val_f2", "val_f1", "val_centre_f1", "val_cer", "val_exact", "loss",
            "accuracy")
HEADS = ("l2_softmax", "softmax", "arcface", "cosface", "sphereface", "adacos")
MARGINS = {"arcface": 0.5, "cosface": 0.4, "sphereface": 1.35}
OPTIMIZERS = ("sgd", "adam", "amsgrad", "adamw", "rmsprop", "adabound", "lion")
VIEWS = ("one", "crops5", "crops6", "crops7", "crops10", "crops20", "nine", "tiles")  # as pipeline.views has them
DECAYS = ("cosine", "linear")  # schedules with an end


def add_head(parser):
    head = parser.add_argument_group("head, loss and evaluation of --task=classify and multilabel")
    head.add_argument("--head", choices=HEADS, default="l2_softmax",
                      help="softmax: a dense layer (multilabel has this alone); the others: cosine of feature and class weights "
                           "over a temperature; arcface, cosface and sphereface are trained with a "
                           "margin, adacos finds its temperature while it trains")
    head.add_argument("--temperature", type=number(float, above=0),
                      help="of a head of cosines (default: l2_softmax 0.05, with a margin 1/30)")
    head.add_argument("--margin", type=number(float, 0, 4),
                      help="arcface: radians; cosface: of the cosine; sphereface: factor of the angle "
                           "(default: 0.5, 0.4, 1.35)")
    head.add_argument("--pooling", choices=["average", "gem"], default="average",
                      help="of the last feature map")
    head.add_argument("--neck", choices=["none", "bottleneck", "two_fc"], default="none",
                      help="between backbone and head: bottleneck: 1x1 convolution before and a dense "
                           "layer after the pooling, both as wide as there are classes; two_fc: two "
                           "dense layers (system E)")
    head.add_argument("--neck_width", type=number(int, 1),
                      help="of the neck's layers (default: bottleneck the number of classes, two_fc "
                           "4096)")
    head.add_argument("--dropout", type=number(float, 0, 0.95), default=0.0,
                      help="share of the features before the head")
    head.add_argument("--aux_features", type=path, metavar="FILE",
                      help="preview, train, val, test: .npz of vectors by id of record, image or group (ids, "
                           "features, made_by), one for each record of the store, that go into the network "
                           "beside the image (default: none)")
    head.add_argument("--aux_width", type=number(int, 0), default=256,
                      help="of a dense layer with ReLU on the vectors, before they join the image's features "
                           "above the neck; 0: none")
    head.add_argument("--loss", type=_loss, default="cross_entropy", metavar="NAME[:WEIGHT],...",
                      help="one of cross_entropy, focal, bce, binary_focal, lovasz_hinge, or a "
                           "weighted sum of several, such as binary_focal:1,lovasz_hinge:0.5 "
                           "(default: cross_entropy)")
    head.add_argument("--later_loss", type=_loss, metavar="NAME[:WEIGHT],...",
                      help="the loss after --later_loss_epoch (the 1st place of iMet: bce after focal) "
                           "(default: --loss to the end)")
    head.add_argument("--later_loss_epoch", type=number(int, 1), metavar="E",
                      help="epochs after which --later_loss takes over (default: never)")
    head.add_argument("--focal_gamma", type=number(float, 0, 10), default=2.0,
                      help="of focal and binary_focal")
    head.add_argument("--class_weights", choices=["none", "inverse", "effective"], default="none",
                      help="of the loss, from the counts of training records: inverse, or by effective "
                           "number (beta 0.999)")
    head.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0,
                      help="share of the target spread over all classes")
    head.add_argument("--pseudo_target", type=number(float, 0, 1), default=1.0,
                      help="targets of pseudo-labelled records are multiplied by this (system A's "
                           "refinement: 0.9)")
    head.add_argument("--eval_crop", type=number(float, 0.1, 1), default=1.0,
                      help="validation and test: side of the centred crop, as a share")
    head.add_argument("--views", choices=VIEWS, default="one",
                      help="val and test: what is shown of each record. one: the centred crop; crops5 to "
                           "crops20: crops of that size in corners and middle, and larger ones (system A "
                           "has crops7); nine: flips and turns besides (system B); tiles: of long images, that "
                           "were stretched to squares, three squares along the longer side. Each costs as much as "
                           "one")
    head.add_argument("--tta_number", type=number(int, 0, 9), metavar="N",
                      help="val and test: the image and the first N of the nine, instead of --views")
    head.add_argument("--views_mean", choices=["logits", "probabilities"], default="logits",
                      help="val and test: what is averaged over the views")
    return head


def add_examples(parser):
    examples = parser.add_argument_group("noisy and hard examples of --task=classify and multilabel")
    examples.add_argument("--losses_after_epochs", type=values(number(int, 1)), default=[],
                          metavar="E,...",
                          help="after these epochs the loss of every training record, as it is "
                               "without augmentation, is written to RUN/example_losses/")
    examples.add_argument("--drop_worst", type=number(float, 0, 0.5), default=0.0,
                          help="share of the training records that are left out after those epochs: "
                               "those of highest loss, whose labels may be wrong; of several labels a "
                               "record, of highest loss above what its labels lead one to expect")
    examples.add_argument("--mine_hardest", type=number(float, 0, 0.5), default=0.0,
                          help="share of the records, those of highest loss that are not left out, "
                               "that come twice in an epoch from then on, instead of as many easy ones")
    return examples


def add_teacher(parser):
    teacher = parser.add_argument_group("distillation, --task=classify")
    teacher.add_argument("--teacher", type=path,
                         help="a finished run of the same classes, input size and channels")
    teacher.add_argument("--teacher_weight", type=number(float, 0), default=1.0,
                         help="of the divergence (KL) from the teacher's softened probabilities, "
                              "times temperature squared")
    teacher.add_argument("--teacher_temperature", type=number(float, above=0), default=4.0,
                         help="softens both sides' logits")
    teacher.add_argument("--attention_weight", type=number(float, 0), default=0.0,
                         help="of the distance of attention maps (attention transfer; published with "
                              "1000)")
    return teacher


def add_training(parser):
    train = parser.add_argument_group("training")
    train.add_argument("--n_epochs", type=number(int, 1), default=20, help="epochs")
    train.add_argument("--batch_size", type=number(int, 1), default=64,
                       help="records per step, over all devices and micro-batches")
    train.add_argument("--accumulate", type=number(int, 1), default=1, metavar="N",
                       help="each device takes its part of a batch in N micro-batches, one after the "
                            "other, and sums their gradients: less memory, the same step")
    train.add_argument("--optimizer", type=_optimizer, default="sgd", metavar="NAME",
                       help=f"{', '.join(OPTIMIZERS)}, or tfa:NAME of tensorflow-addons "
                            "(requirements-addons.txt). Weight decay is decoupled for adamw, lion and "
                            "tfa:NAME, part of the gradient for the others")
    train.add_argument("--lr", type=number(float, above=0), default=0.1,
                       help="highest learning rate, for the whole batch, whatever its size")
    train.add_argument("--lr_per_256", type=on_off, default=False,
                       help="on/off: --lr is for a batch of 256 and scales with --batch_size")
    train.add_argument("--momentum", type=number(float, 0, 1), default=0.9, help="of sgd and rmsprop")
    train.add_argument("--nesterov", type=on_off, default=False, help="on/off, of sgd")
    train.add_argument("--weight_decay", type=number(float, 0), default=1e-4, help="0 for none")
    train.add_argument("--decay_norms_and_biases", type=on_off, default=False,
                       help="on/off: weight decay on them too, as PyTorch does by default")
    train.add_argument("--clip_norm", type=number(float, above=0),
                       help="longest gradient (Euclidean norm over all weights) (default: any)")
    train.add_argument("--ema", type=number(float, 0.5, 0.999999),
                       help="decay per step of averaged weights, such as 0.9998: validated and saved "
                            "in the place of the last ones (default: None)")
    train.add_argument("--monitor", choices=MONITORS,
                       help="figure that chooses the best checkpoint (default: val_accuracy, "
                            "multilabel val_f2, detect val_f1 or, without classes, val_centre_f1, text val_cer, the "
                            "character error rate; without "
                            "validation loss)")
    train.add_argument("--validate_every_epochs", type=number(int, 1), default=1,
                       help="epochs; the last is always validated")
    train.add_argument("--early_stop_patience", type=number(int, 1),
                       help="validations without a better figure after which training ends "
                            "(default: never)")
    train.add_argument("--early_stop_min_delta", type=number(float, 0), default=0.0,
                       help="what counts as better")
    train.add_argument("--checkpoint_every_steps", type=number(int, 1),
                       help="steps; besides those after each epoch and on SIGTERM and SIGINT")
    train.add_argument("--keep_checkpoints", type=number(int, 1), default=2,
                       help="so many of the newest to go on from; the best weights are kept besides")


def add_schedule(parser):
    rate = parser.add_argument_group("learning rate")
    rate.add_argument("--schedule", default="cosine",
                      choices=["constant", "multistep", "steps", "cosine", "linear", "plateau"],
                      help="after the warm-up")
    rate.add_argument("--warmup_epochs", type=number(float, 0),
                      help="of linear warm-up, per step; epochs (default: 1, or a tenth of "
                           "--n_epochs if that is less)")
    rate.add_argument("--milestones_epochs", type=values(float), default=[], metavar="E,...",
                      help="multistep: epochs at which the learning rate is multiplied; steps: from "
                           "which --lrs hold")
    rate.add_argument("--lr_factor", type=values(number(float, above=0)), default=[0.1],
                      metavar="X,...",
                      help="multistep: by which it is multiplied, one for all or one for each "
                           "(default: 0.1)")
    rate.add_argument("--lrs", type=values(number(float, above=0)), default=[], metavar="X,...",
                      help="steps: the rates from each of --milestones_epochs on (system E)")
    rate.add_argument("--min_lr", type=number(float, 0), default=0.0,
                      help="cosine, linear: learning rate at the end; plateau: the lowest")
    rate.add_argument("--decay_epochs", type=number(float, above=0),
                      help="cosine, linear: length (default: from the warm-up to the end)")
    rate.add_argument("--restart_epochs", type=number(float, above=0),
                      help="cosine: length of the first period, after which it starts again "
                           "(default: no restarts)")
    rate.add_argument("--restart_mult", type=number(float, 1), default=1.0,
                      help="cosine: each period is so many times as long as the one before")
    rate.add_argument("--plateau_factor", type=number(float, 0.001, 0.999), default=0.5,
                      help="plateau: the rate is multiplied by this")
    rate.add_argument("--plateau_patience", type=number(int, 1), default=4,
                      help="plateau: after so many validations without a better --monitor")
    rate.add_argument("--plateau_min_delta", type=number(float, 0), default=1e-4,
                      help="plateau: what counts as better")


def add_fine_tuning(parser):
    tuning = parser.add_argument_group("fine-tuning")
    tuning.add_argument("--init_from", type=path, metavar="RUN",
                        help="start from the best weights of this run (with --n_folds of a folder of folds: of "
                             "the same fold); of a head of more classes those of this run, a head of other "
                             "classes is left out, which is said")
    tuning.add_argument("--freeze", choices=["none", "norms", "backbone"], default="none",
                        help="norms: normalisation keeps its statistics, scales and offsets; backbone: "
                             "all but what stands on the backbone")
    tuning.add_argument("--first_layer_rate", type=number(float, 0.0001, 1), default=1.0,
                        help="the first layer learns at this share of the rate, the last at all of "
                             "it, those between at a geometric share by their depth")


def check(parser, o):
    """Refuses options of this file that do not go together."""
    if o.schedule in ("multistep", "steps") and not o.milestones_epochs:
        parser.error(f"--schedule={o.schedule} needs --milestones_epochs, such as 20,40,60")
    if o.schedule == "steps" and len(o.lrs) != len(o.milestones_epochs):
        parser.error(f"--schedule=steps needs one of --lrs for each of --milestones_epochs: "
                     f"{len(o.lrs)} for {len(o.milestones_epochs)}")
    if o.lrs and o.schedule != "steps":
        parser.error(f"--lrs is of --schedule=steps, not {o.schedule}")
    if o.schedule == "multistep" and len(o.lr_factor) not in (1, len(o.milestones_epochs)):
        parser.error(f"--lr_factor has {len(o.lr_factor)} numbers for {len(o.milestones_epochs)} of "
                     "--milestones_epochs: give one, or one for each")
    if o.milestones_epochs != sorted(set(o.milestones_epochs)):
        parser.error("--milestones_epochs must rise, such as 20,40,60")
    if o.restart_epochs and (o.schedule != "cosine" or o.decay_epochs):
        parser.error("--restart_epochs is of --schedule=cosine, without --decay_epochs")
    if o.restart_mult != 1 and not o.restart_epochs:
        parser.error("--restart_mult needs --restart_epochs")
    if o.warmup_epochs is None:
        o.warmup_epochs = min(1, o.n_epochs / 10)
    if o.warmup_epochs > o.n_epochs:
        parser.error(f"--warmup_epochs={o.warmup_epochs:g} is more than --n_epochs={o.n_epochs}")
    if o.schedule in DECAYS:
        if o.decay_epochs is None and o.warmup_epochs == o.n_epochs:
            parser.error(f"--warmup_epochs={o.warmup_epochs:g} leaves nothing of "
                         f"--n_epochs={o.n_epochs} to --schedule={o.schedule}")
        if (o.decay_epochs or 0) > o.n_epochs:
            parser.error(f"--decay_epochs={o.decay_epochs:g} is more than --n_epochs={o.n_epochs}")
    if o.schedule in (*DECAYS, "plateau") and o.min_lr > o.lr:
        parser.error(f"--min_lr={o.min_lr:g} is more than --lr={o.lr:g}")
    if o.batch_size % o.accumulate:
        parser.error(f"--batch_size={o.batch_size} is not a multiple of --accumulate={o.accumulate}")
    if o.resume == "on" and o.overwrite:
        parser.error("--resume=on and --overwrite exclude each other")
    if o.dry_run and "train" not in o.job:
        parser.error("--dry_run is for --job=train")
    if o.dry_run:  # there is no run to validate afterwards
        o.job = [job for job in o.job if job != "val"]


def check_classifier(parser, o):
    if o.tta_number is not None:
        if o.views != "one":
            parser.error("--tta_number and --views both name the views: give one")
        o.views = "nine"
    if o.class_weights != "none" and "lovasz_hinge" in o.loss:
        parser.error("--class_weights does not go with --loss=lovasz_hinge, which ranks classes instead "
                     "of adding their terms")
    if (o.later_loss is None) != (o.later_loss_epoch is None):
        parser.error("--later_loss and --later_loss_epoch go together")
    if o.class_weights != "none" and "lovasz_hinge" in (o.later_loss or ""):
        parser.error("--class_weights does not go with --later_loss=lovasz_hinge")
    if o.margin is not None and o.head not in MARGINS:
        parser.error(f"--margin is of --head={', '.join(MARGINS)}, not {o.head}")
    if o.temperature is not None and o.head in ("softmax", "adacos"):
        parser.error(f"--temperature is not an option of --head={o.head}")
    if o.aux_features:
        if not set(o.job) & {"preview", "train", "val", "test"}:
            parser.error(f"--aux_features is for --job=preview, train, val or test, not {o.job[0]}")
        if o.teacher:
            parser.error("--aux_features does not go with --teacher, which sees images alone")
    elif o.aux_width != parser.get_default("aux_width"):
        parser.error("--aux_width needs --aux_features")
    if o.neck_width is not None and o.neck == "none":
        parser.error("--neck_width needs --neck")
    if max(o.losses_after_epochs, default=0) > o.n_epochs:
        parser.error(f"--losses_after_epochs={max(o.losses_after_epochs)} is more than --n_epochs="
                     f"{o.n_epochs}")
    if (o.drop_worst or o.mine_hardest) and not o.losses_after_epochs:
        parser.error("--drop_worst and --mine_hardest need --losses_after_epochs, such as 3")
    if (o.drop_worst or o.mine_hardest) and o.undersample_to:
        parser.error("--drop_worst and --mine_hardest do not go with --undersample_to, which draws "
                     "its own records each epoch")
    if not o.teacher:
        for name in ("teacher_weight", "teacher_temperature", "attention_weight"):
            if getattr(o, name) != parser.get_default(name):
                parser.error(f"--{name} needs --teacher")


def check_multilabel(parser, o):
    if o.head != "softmax":
        parser.error(f"--head={o.head} chooses one class: with --task=multilabel it is softmax, a dense "
                     "layer")
    for name in parse_loss(o.loss) | parse_loss(o.later_loss or o.loss):
        if name in ("cross_entropy", "focal"):
            parser.error(f"--loss={name} is for one class: give bce, binary_focal, lovasz_hinge or a sum")


def _loss(text):
    try:
        parse_loss(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _optimizer(text):
    if addons.is_addon(text):
        try:
            addons.check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text
    if text in OPTIMIZERS:
        return text
    close = difflib.get_close_matches(text, OPTIMIZERS, 1, 0.4)
    raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(OPTIMIZERS)} or tfa:NAME" +
                                     (f" (did you mean {close[0]}?)" if close else ""))
