"""The options of run.py that only --task=detect has: CenterNet's network, targets and use."""
import argparse

from arguments import number, on_off, or_none, values


def add_detector(parser):
    net = parser.add_argument_group("network and loss of --task=detect")
    net.add_argument("--architecture", default="pyramid",
                     choices=["pyramid", "hourglass104", "hourglass_small"],
                     help="pyramid: --backbone with a feature pyramid (system D); the hourglasses "
                          "are the original CenterNet's")
    net.add_argument("--classes", choices=["branch", "heatmap", "none"], default="branch",
                     help="branch: a classifier evaluated only at centres, for any number of classes "
                          "(system D); heatmap: a heatmap per class (original CenterNet); none: "
                          "only find, whatever the class (system A)")
    net.add_argument("--pyramid_channels", type=number(int, 8), default=256, help="of each level")
    net.add_argument("--head_channels", type=number(int, 8), default=128,
                     help="of the two convolutions on each level")
    net.add_argument("--class_channels", type=number(int, 8), default=512,
                     help="of the class branch")
    net.add_argument("--class_dropout", type=number(float, 0, 0.95), default=0.5,
                     help="of the class branch")
    net.add_argument("--centre_kernel", choices=["3x3", "gaussian"], default="3x3",
                     help="target around each centre: 3x3 cells (system D), or a Gaussian as large "
                          "as the box allows (original CenterNet)")
    net.add_argument("--gaussian_overlap", type=number(float, 0.01, 0.99), default=0.7,
                     help="IoU that a box keeps whose corners move by the Gaussian's radius; 0.2 "
                          "makes it as wide as in the published code, which takes a larger root")
    net.add_argument("--heatmap_loss", choices=["bce", "focal"], default="bce",
                     help="bce: binary cross-entropy, mean over cells (system D); focal: "
                          "penalty-reduced, per centre (original CenterNet)")
    for name, weight, what in (("class", 0.1, "cross-entropy at the 3x3 cells around each centre"),
                               ("size", 0.1, "L1 of width and height, in cells"),
                               ("offset", 1.0, "L1 of the centre's place in its cell")):
        net.add_argument(f"--{name}_weight", type=number(float, 0), default=weight,
                         help=f"of this part of the loss: {what}")
    return net


def add_crops(parser):
    crops = parser.add_argument_group("training crops of --task=detect (--dim is their side)")
    crops.add_argument("--crops_per_page", type=number(int, 1), default=1,
                       help="random crops of each page in an epoch")
    crops.add_argument("--max_characters", type=number(int, 1), default=256,
                       help="of a crop; how many more there were is reported after each epoch "
                            "(left_out)")
    return crops


def add_finding(parser):
    finding = parser.add_argument_group("finding characters on whole pages, --task=detect")
    finding.add_argument("--only_val", type=on_off, default=False,
                         help="on/off: detect: only the validation pages of --split or --val_fold -> "
                              "NAME_val.csv")
    finding.add_argument("--scales", type=_scales, default=[0.75, 1.0, 1.25], metavar="X,...",
                         help="of the page, averaged (validation during training uses 1; "
                              "default: 0.75,1,1.25)")
    finding.add_argument("--threshold", type=number(float, 0, 1), default=0.4,
                         help="a centre's least score")
    finding.add_argument("--max_peaks", type=number(int, 1), default=1300,
                         help="most centres of a page; a page that has more is named")
    finding.add_argument("--nms_iou", type=or_none(number(float, 0, 1)), default=0.3,
                         help="of two boxes that overlap by more than this IoU the better stays "
                              "(system A: 0.3); None: all stay (system D)")
    return finding


def _scales(text):
    scales = values(number(float, 0.1, 4))(text)
    if not scales or len(set(scales)) != len(scales):
        raise argparse.ArgumentTypeError(f"{text!r}: give one scale or several different ones")
    return scales
