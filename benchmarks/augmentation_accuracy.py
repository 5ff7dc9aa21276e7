"""What augmentation is worth: accuracy on real characters, by augmentation, at equal budget.

  python -m benchmarks.augmentation_accuracy --data_dir images_background_small1.zip [options of run.py]

A row has what the rows above it have, but that the last two, which both mix images, each follow
erasing. See benchmarks/accuracy_table.py.
"""
from benchmarks.accuracy_table import print_table

GEOMETRY = ["--rotate=15", "--shear=15", "--scale=0.2", "--shift=0.1"]
COLOUR = [*GEOMETRY, "--brightness=0.25", "--contrast=0.25", "--gamma=0.25"]
ERASING = [*COLOUR, "--erase=0.4"]
ROWS = {"none": [], "geometry": GEOMETRY, "+ colour": COLOUR, "+ erasing": ERASING,
        "+ mixup": [*ERASING, "--mixup=0.2"],
        "+ ICAP": [*ERASING, "--icap=1.0", "--icap_p=0.5"]}
NO_AUGMENTATION = ["--rotate=0", "--shear=0", "--scale=0", "--shift=0", "--erase=0"]

if __name__ == "__main__":
    print_table(__doc__, "augmentation", ROWS, NO_AUGMENTATION, "runs/augmentation")
