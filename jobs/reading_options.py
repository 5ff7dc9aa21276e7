"""The options of run.py about what was read: several readers as one, false positives, pseudo labels."""
from arguments import number, path, values

COMBINATIONS = ("mean_logits", "mean_probabilities", "geometric_mean", "hard_vote")
STACKS = ("cnn", "cnn_groups", "lightgbm")
FITTED = COMBINATIONS[:2]  # those that weights can be fitted for


def add_rescoring(parser):
    reading = parser.add_argument_group("what was read")
    reading.add_argument("--members", type=values(path), default=[], metavar="RUN,...",
                         help="ensemble, products: runs that have classified (--job=test) or searched "
                              "(--job=detect) the store, or folders of folds; --run_dir is the ensemble's own folder, which "
                              "later jobs take as a run")
    reading.add_argument("--member_weights", type=_weights, default=[], metavar="X,...|fit",
                         help="ensemble, products: one for each member (default: all alike); fit, of "
                              "ensemble: found on the validation that all members share (--job=val), --combine=mean_logits or "
                              "mean_probabilities")
    reading.add_argument("--rescorer", type=path, metavar="FOLDER",
                         help="fit_rescorer: folder to be made, of the predictor of false positives; "
                              "submit, pseudo: leave out what it takes for false")
    reading.add_argument("--rescorer_trials", type=number(int, 0), default=0, metavar="N",
                         help="fit_rescorer: search its parameters in N trials (system A: 200); 0: take "
                              "those it published")
    reading.add_argument("--pseudo_probability", type=number(float, 0, 1), default=0.9,
                         help="pseudo: least probability of a label that is taken for true")


def add_combining(parser):
    combining = parser.add_argument_group("ensembles of --task=classify and multilabel")
    combining.add_argument("--combine", choices=COMBINATIONS, default="mean_logits",
                           help="of the members' predictions; hard_vote: the class that most of them "
                                "give, by mean probability where they tie")
    return combining


def add_stacking(parser):
    stacking = parser.add_argument_group("stacking of --task=multilabel")
    stacking.add_argument("--stack", choices=STACKS, default="cnn",
                          help="cnn: a convolution over the members, then dense layers over all labels; "
                               "cnn_groups: one such network for each group of labels; lightgbm: boosted trees "
                               "on a row per image and label. Each fold is rated by what learned from the "
                               "others")
    stacking.add_argument("--stack_rows", type=number(int, 1000), default=2_000_000,
                          help="lightgbm: rows of image and label to learn from, all that are true and a "
                               "sample of the others; 4 bytes x columns each")
    stacking.add_argument("--stack_epochs", type=number(int, 1), default=50,
                          help="cnn: at most; it stops when held-back images get worse")
    return stacking


def add_merging(parser):
    merging = parser.add_argument_group("ensembles of --task=detect")
    merging.add_argument("--merge", choices=["nms", "soft_nms", "wbf"], default="nms",
                         help="of the members' boxes: non-maximum suppression, the same with falling "
                              "scores, weighted box fusion")
    merging.add_argument("--merge_iou", type=number(float, 0, 1), default=0.3,
                         help="boxes that overlap by more are one")
    merging.add_argument("--merge_classes", choices=["together", "apart"], default="together",
                         help="apart: only boxes of the same character are one")
    merging.add_argument("--rank_by", choices=["score", "label_score"], default="score",
                         help="what decides between boxes: that of the box or that of its character")
    return merging


def check(parser, o):
    """Refuses options of this file that do not go together."""
    if "ensemble" in o.job:
        networks = {"preview", "train", "val", "test", "detect"} & set(o.job)
        if networks:
            parser.error(f"--job=ensemble needs no network, --job={min(networks)} does: call run.py "
                         "once for each")
        if not o.members:
            parser.error("--job=ensemble needs --members, runs or folders of folds")
        if o.run_dir is None:
            parser.error("--job=ensemble needs --run_dir, the folder of the ensemble")
    elif "stack" in o.job:
        if o.run_dir is None or set(o.job) - {"stack", "submit", "score"}:
            parser.error("--job=stack needs --run_dir, the folder of the second level, and goes alone or with "
                         "submit and score")
    elif o.members and "products" not in o.job:
        parser.error("--members is for --job=ensemble, stack and products")
    if o.member_weights == "fit":
        if o.task == "detect" or o.combine not in FITTED:
            parser.error(f"--member_weights=fit goes with --combine={' or '.join(FITTED)}")
    elif o.member_weights and len(o.member_weights) != len(o.members):
        parser.error(f"--member_weights has {len(o.member_weights)} numbers for {len(o.members)} members")
    if "fit_rescorer" in o.job and not (o.rescorer and o.truth_csv):
        parser.error("--job=fit_rescorer needs --rescorer, a folder to be made, and --truth_csv, the "
                     "annotated pages")
    if o.rescorer and not {"fit_rescorer", "submit", "pseudo"} & set(o.job):
        parser.error("--rescorer is for --job=fit_rescorer, submit and pseudo")
    if bool({"predict", "grad_cam"} & set(o.job)) != bool(o.images):
        parser.error("--images is for --job=predict and --job=grad_cam, which need it")
    if o.images and len(o.job) > 1:
        parser.error(f"--job={o.job[0]} goes alone")
    if o.labels and "grad_cam" not in o.job:
        parser.error("--labels is for --job=grad_cam")
    if o.new_tfrec_dir and "reidentify" not in o.job:
        parser.error("--new_tfrec_dir is for --job=reidentify")
    if o.pseudo_tfrec_dir and "train" not in o.job:
        parser.error("--pseudo_tfrec_dir is for --job=train")


def _weights(text):
    return "fit" if text == "fit" else values(number(float, 0))(text)
