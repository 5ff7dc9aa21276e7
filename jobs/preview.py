"""--job=preview: a picture of the first training batch, augmented, with its targets."""
import numpy as np

from jobs.errors import option_errors
from jobs.train import augmented_batches, draw
from reports.example_grid import caption, denormalise, draw_grid

MOST = 64  # examples in the picture


def run(session):
    batches = augmented_batches(session, draw(session)[0], "host")
    images, targets = next(iter(batches.take(1)))
    images = images["image"] if isinstance(images, dict) else images
    names = session.class_names
    draw_examples(session, images, [caption(row, names) for row in targets.numpy()[:MOST]])


def draw_examples(session, images, captions, boxes=None):
    """images: as the network takes them. captions, boxes: of draw_grid, of the first MOST images."""
    o, path = session.options, session.options.preview_png
    images = images.numpy()
    if images.ndim == 5:  # several pictures of each, side by side
        images = np.concatenate(list(images.swapaxes(0, 1)), axis=2)
    shown = denormalise(images[:MOST], session.input["mean"], session.input["std"])
    layout = {"columns": 8} if boxes is None else {"columns": 4, "cell": 384}
    with option_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_grid(path, shown, captions, boxes=boxes, **layout,
                  title=f"first batch of {session.store.folder}, seed {o.seed}")
    print(f"preview: {len(shown)} of the {len(images)} examples of the first batch -> {path}")
