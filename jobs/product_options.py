"""The options of run.py about products of several images and categories in levels (system E)."""
from arguments import number, on_off

POOLINGS = ("grid", "features")  # as pipeline.product_grid has them
MIXES = ("mixup", "cutmix", "ricap", "icap")
NETWORKS = ("preview", "train", "val", "test", "predict", "grad_cam", "reidentify")  # jobs that run one


def add_products(parser):
    products = parser.add_argument_group("products of several images, levels of categories, --task=classify")
    products.add_argument("--product_images", type=number(int, 1, 4), metavar="K",
                          help="train: a record is a product of exactly K images, of a store of "
                               "--format=cdiscount; others are left out. A run that is there knows it by itself "
                               "(default: a record is one image)")
    products.add_argument("--product_pooling", choices=POOLINGS, default="grid",
                          help="train: how the network sees the K images. grid: joined into one picture, 2 side by "
                               "side, 3 and 4 as 2 x 2 (the fourth of three is the first again), which becomes a "
                               "square of --dim px; features: each by itself, augmented in its own way, and the "
                               "pooled features averaged")
    products.add_argument("--level_weight", type=number(float, 0), default=0.0,
                          help="of further losses: softmax heads on the same features, for the two widest levels "
                               "of category that the store has; predictions come from the classes' own head; the "
                               "log has theirs as level1_head_accuracy (0: no such heads)")
    products.add_argument("--keep_logits", type=on_off, default=True,
                          help="on/off: products: write the probabilities of all classes, 2 bytes per product and "
                               "class, and not only of the best 5, which are what submit needs")
    return products


def check(parser, o):
    """Refuses options of this file that do not go together."""
    if o.product_images is None and o.product_pooling != "grid":
        parser.error(f"--product_pooling={o.product_pooling} needs --product_images, how many images a product has")
    if o.product_pooling == "features":
        mixed = next((name for name in MIXES if getattr(o, name)), None)
        if mixed:
            parser.error(f"--{mixed} mixes single pictures, and with --product_pooling=features a product has "
                         "several: choose --product_pooling=grid, or no mixing")
        if o.teacher:
            parser.error("--teacher does not go with --product_pooling=features: choose --product_pooling=grid")
    if o.product_images and o.pseudo_tfrec_dir:
        parser.error("--pseudo_tfrec_dir labels single images: it does not go with --product_images")
    if o.level_weight and o.teacher:
        parser.error("--level_weight does not go with --teacher")
    if not o.keep_logits and "products" not in o.job:
        parser.error("--keep_logits is for --job=products")
    if "products" in o.job:
        network = next((job for job in o.job if job in NETWORKS), None)
        if network or "ensemble" in o.job:
            parser.error(f"--job=products needs no network, and goes without --job={network or 'ensemble'}: call "
                         "run.py once for each")
        if not o.members or o.run_dir is None:
            parser.error("--job=products needs --members, runs that have predicted the store, and --run_dir, "
                         "the folder of what they say together")
        if o.combine != parser.get_default("combine") or o.member_weights == "fit":
            parser.error("--job=products takes the mean of probabilities, by --member_weights that are numbers: "
                         "leave --combine and --member_weights=fit to --job=ensemble")
