"""What a head is worth: accuracy on real characters, by head, at equal budget.

  python -m benchmarks.head_accuracy --data_dir images_background_small1.zip [options of run.py]

Temperatures and margins are the defaults (system A's), and all else is alike: a smaller network and
image than the recipe's. See benchmarks/accuracy_table.py.
"""
from benchmarks.accuracy_table import print_table

ROWS = {name: [f"--head={head}"] for name, head in (
    ("softmax", "softmax"), ("L2-softmax", "l2_softmax"), ("ArcFace", "arcface"),
    ("CosFace", "cosface"), ("SphereFace", "sphereface"), ("AdaCos", "adacos"))}

if __name__ == "__main__":
    print_table(__doc__, "head", ROWS, ["--backbone=wide_resnet10_2", "--dim=40"], "runs/heads")
