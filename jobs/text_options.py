"""The options of run.py that only --task=text has: the CRNN's layers, what is kept of its sequences."""
from arguments import number

IDLE = ("dim", "dim_pre", "weights", "stem_stride", "pseudo_tfrec_dir", "dry_run", "n_folds", "data_dir",
        "truth_csv", "sample_submission", "score_csv", "score_name")


def add_text(parser):
    text = parser.add_argument_group("network of --task=text (--backbone: crnn or crnn_small)")
    text.add_argument("--recurrent", choices=["lstm", "gru"], default="lstm",
                      help="kind of the recurrent layers, which read in both directions")
    text.add_argument("--recurrent_units", type=number(int, 1), default=256, help="of each direction")
    text.add_argument("--recurrent_layers", type=number(int, 1), default=2, help="one upon another")
    text.add_argument("--sequence_dropout", type=number(float, 0, 0.95), default=0.0,
                      help="share of the last recurrent layer's features that are dropped before the head")
    text.add_argument("--pool_boxes", choices=["max", "mean"], default="max",
                      help="text_features: what is kept of the vectors of an image's several records")
    return text


def check(parser, options):
    """Refuses options that do nothing here."""
    for name in IDLE:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name} has no effect with --task=text" + (
                ": lines enter the network as they were packed" if name in ("dim", "dim_pre") else ""))
    if options.pool_boxes != "max" and "text_features" not in options.job:
        parser.error("--pool_boxes is for --job=text_features")
    if "text_features" in options.job and len(options.job) > 1:
        parser.error("--job=text_features goes alone")
