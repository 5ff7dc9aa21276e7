"""--job=train of --task=detect: a new CenterNet, trained on crops of the store's pages."""
import functools

import numpy as np

from jobs.detection import validation
from jobs.errors import OptionError, option_errors
from jobs.fine_tuning import prepare_weights
from jobs.train import begin, finished_before, train
from models.centernet_targets import centernet_targets
from pipeline.page_batches import (PageBoxes, change_on_device, page_steps_per_epoch,
                                   page_training_batches)
from records.letterbox import Letterbox
from training.centernet_step import CenterNetLoss


def run(session):
    started = begin(session)
    o, store = session.options, session.store

    # Data: which pages, how often; their boxes.
    train_rows, val_rows = session.rows
    with option_errors():
        steps = page_steps_per_epoch(len(train_rows), o.crops_per_page, o.batch_size)
    if o.dim > store.info["image"]["size"]:
        raise OptionError(f"--dim={o.dim} is more than the pages' {store.info['image']['size']} px")
    asked = session.augmentation  # refused now, if it must be
    characters = len(store.boxes())
    print(f"data: {len(train_rows)} training pages ({steps * o.batch_size} crops an epoch), "
          f"{len(val_rows)} validation pages, {characters} characters of "
          f"{len(store.class_names)} classes")

    # The run and its network.
    classes = len(store.class_names)
    if not classes and o.classes != "none":
        raise OptionError(f"{store.folder} has no character to learn: pack pages with boxes")
    session.plan_run(
        classes=o.classes, network={
            "architecture": o.architecture, "n_heatmaps": n_heatmaps(session),
            "n_classes": classes if o.classes == "branch" else 0,
            "class_channels": o.class_channels, "class_dropout": o.class_dropout} |
        ({"backbone": o.backbone, "pyramid_channels": o.pyramid_channels,
          "head_channels": o.head_channels} if o.architecture == "pyramid" else {}) |
        ({"stem_stride": o.stem_stride} if o.stem_stride else {}))
    if finished_before(session):
        return
    model = session.build(session.run, o.weights)
    with session.strategy.scope(), option_errors():
        prepare_weights(session, model)
        model.set_loss(CenterNetLoss(o.heatmap_loss, o.class_weight, o.size_weight, o.offset_weight))
    name = o.backbone if o.architecture == "pyramid" else o.architecture
    print(f"network: CenterNet, {name}, {model.count_params() / 1e6:.2f} M parameters")

    # Batches.
    if o.augment_on == "device":
        model.set_augmentation(change_on_device(asked, session.input_format))
    validate = None
    if len(val_rows):
        figures = validation(session, [1.0], precisions=False)
        validate = lambda model: {f"val_{k}": v for k, v in figures(model).items()}

    def batches_of(start, worker, n_workers):
        return augmented_batches(session, o.augment_on, start, worker, n_workers)

    def report_left_out(model, epoch, row):
        if row["left_out"]:
            print(f"warning: {row['left_out']:.0f} characters did not fit in --max_characters="
                  f"{o.max_characters} in epoch {epoch}, and were not learned: raise it")
    train(session, model, steps, batches_of, validate, started, [report_left_out])


def n_heatmaps(session):
    return len(session.store.class_names) if session.options.classes == "heatmap" else 1


def augmented_batches(session, augment_on, start=0, worker=0, n_workers=1):
    """The training batches of crops from step `start` on; one worker's part of each."""
    o, store, (train_rows, val_rows) = session.options, session.store, session.rows
    source, position = session.source
    boxes = page_boxes(store, np.union1d(train_rows, val_rows))  # as session.source holds them
    targets = functools.partial(centernet_targets, side=o.dim, kernel=o.centre_kernel,
                                min_overlap=o.gaussian_overlap, n_heatmaps=n_heatmaps(session))
    with option_errors():
        return page_training_batches(
            source, position[train_rows], boxes, session.augmentation, session.input_format, targets,
            batch_size=o.batch_size, seed=o.seed, n_epochs=o.n_epochs,
            crops_per_page=o.crops_per_page, max_boxes=o.max_characters, augment_on=augment_on,
            start_step=start, worker=worker, n_workers=n_workers)


def page_boxes(store, rows):
    """PageBoxes of the pages at `rows` of the manifest, in shares of their records."""
    images = store.images().set_index("image_id")
    groups = dict(list(store.boxes().groupby("image_id", sort=False)))
    boxes, classes, splits = [np.zeros((0, 4))], [np.zeros(0, np.int32)], [0]
    for page in store.manifest["image_id"].to_numpy()[rows]:
        if page in groups:
            size = store.info["image"]["size"]
            letterbox = Letterbox(int(images.at[page, "width"]), int(images.at[page, "height"]),
                                  size, store.info["options"]["aspect"])
            x, y, w, h = groups[page][list("xywh")].to_numpy(float).T
            corners = np.stack([x, y, x + w, y + h], axis=1).reshape(-1, 2, 2)
            boxes.append(letterbox.to_record(corners).reshape(-1, 4) / size)
            classes.append(groups[page]["label_id"].to_numpy(np.int32))
        splits.append(splits[-1] + (len(groups[page]) if page in groups else 0))
    return PageBoxes(np.concatenate(boxes).astype(np.float32), np.concatenate(classes),
                     np.array(splits, np.int64))
