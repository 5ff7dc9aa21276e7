"""--job=preview of --task=text: the first training batch, augmented, each line with its text."""
from jobs.preview import MOST, draw_examples
from jobs.text_train import augmented_batches


def run(session):
    images, texts = next(iter(augmented_batches(session, "host").take(1)))
    names = session.class_names
    draw_examples(session, images, ["".join(names[k] for k in row if k >= 0) for row in texts.numpy()[:MOST]])
