"""--job=stack of --task=multilabel: a second level over what --members said out of fold.

On the training store it is fitted, each fold rated by what learned from the others -> RUN_DIR/stack/ and a
validation like that of a run; on a test store it is used on the members' predictions (--job=test).
"""
import functools
import re

import cv2
import numpy as np
from scipy.special import expit
from tqdm import tqdm

from inference.image_features import NAMES as IMAGE_COLUMNS
from inference.image_features import image_features
from inference.label_ensembles import logit
from inference.label_scores import label_groups, told
from inference.predict import save_predictions
from inference.second_level import SecondLevel, fit_second_level
from inference.second_level_rows import Draw
from inference.stacking import predict_stacked, stack_out_of_fold
from jobs import multilabel
from jobs.errors import OptionError, option_errors
from jobs.label_ensemble import attribute_ids, mean_prediction, validations
from jobs.members import make_run, open_members
from jobs.predictions import predictions_path
from jobs.run_directory import open_run
from models.stacking_cnn import build_stacking_cnn
from pipeline.cache import free_memory
from records.stored_images import stored_images
from training.stacking import fit_stacking_cnn


def run(session):
    o = session.options
    members = open_members(o)
    names = members[0][0].class_names
    for folder, member in zip(o.members, members):
        if member[0].class_names != names:
            raise OptionError(f"{folder} tells other labels than {o.members[0]}: join the runs of different groups "
                              "by --job=ensemble, and stack that")
    with option_errors():
        if session.store.info["source"] == "test":
            use(session, members)
        else:
            session.run = make_run(o, [run for member in members for run in member], {"stack": o.stack},
                                   attribute_ids=attribute_ids(members, names))
            session.check_packing()
            fit(session, members)


def fit(session, members):
    o, run = session.options, session.run
    names, folder = run.class_names, run.folder / "stack"
    ids, logits, truth = validations(members, o.members, [range(len(names))] * len(members), len(names))
    need = 4 * len(members) * truth.size
    if need > free_memory():
        raise MemoryError(f"the logits of {len(members)} members take {need / 1e9:.1f} GB, "
                          f"{free_memory() / 1e9:.1f} GB are free: stack fewer members")
    manifest = session.store.manifest.set_index("id")
    missing = sorted(set(ids) - set(manifest.index))
    if missing:
        raise OptionError(f"{session.store.folder} has not {len(missing)} of the records that the members "
                          f"validated, for instance {missing[0]!r}: give the store they were trained on")
    folds = manifest["fold"].loc[ids].to_numpy(int)
    parts = parted(folds)
    logits = np.stack(logits)
    folder.mkdir(parents=True, exist_ok=True)
    if o.stack == "lightgbm":
        level, probabilities = fit_second_level(
            expit(logits), truth, parts, image_values(session, ids), group_numbers(names),
            models=model_names(o.members), image_columns=list(IMAGE_COLUMNS), labels=names, seed=o.seed,
            draw=Draw(max_rows=o.stack_rows), progress=True)
        level.save(folder)
        together = logit(probabilities)
    else:
        together = np.empty(truth.shape, np.float32)
        for group, columns in groups_of(o.stack, names).items():
            together[:, columns], networks = stack_out_of_fold(functools.partial(fitted, o), logits, truth, parts,
                                                               seed=o.seed, columns=columns)
            for part, network in zip(np.unique(parts), networks):
                network.args[0].save_weights(folder / f"{group}_part{part}.h5")
    figures = multilabel.validated(session, ids, together, truth, folds)
    save_predictions(run.folder / "predictions" / "stack_val.npz", ids, names, together, "", labels=truth)
    print(f"validation: {told(figures)} by {o.stack} of {len(members)} members on {len(ids)} records -> "
          f"{run.folder}")


def parted(folds):
    """The folds of the second level, int [n]: those of the members, or halves of them where they are fewer
    than three, as what the members say is out of fold everywhere."""
    if len(np.unique(folds)) > 2:
        return folds
    half = np.zeros(len(folds), int)
    for fold in np.unique(folds):
        half[np.flatnonzero(folds == fold)[1::2]] = 1
    return 2 * folds + half


def fitted(o, logits, truth, seed):
    """A function of logits [models, b, k] giving those of a new stacking network, fitted to these."""
    return functools.partial(predict_stacked, fit_stacking_cnn(logits, truth, seed=seed, n_epochs=o.stack_epochs))


def use(session, members):
    o, store = session.options, session.store
    session.run = run = open_run(o.run_dir, o.task)
    session.check_packing()
    made_of = [member["run"] for member in run.info["members"]]
    if made_of != [str(r.folder) for member in members for r in member] or run.info["how"] != {"stack": o.stack}:
        raise OptionError(f"{run.folder} is of other members ({', '.join(made_of)}; {run.info['how']}): give the "
                          "same, in the same order, or fit it anew on the training store")
    ids, names, folder = store.manifest["id"].tolist(), run.class_names, run.folder / "stack"
    logits = np.stack([mean_prediction(session, member, ids, store.records_sha256) for member in members])
    if o.stack == "lightgbm":
        level = SecondLevel.load(folder, models=model_names(o.members), image_columns=list(IMAGE_COLUMNS),
                                 labels=names)
        together = logit(level.predict(expit(logits), image_values(session, ids), progress=True))
    else:
        together = np.zeros(logits.shape[1:], np.float32)
        for group, columns in groups_of(o.stack, names).items():
            files = sorted(folder.glob(f"{group}_part*.h5"))
            if not files:
                raise OptionError(f"{folder} has no network of {group}: fit it on the training store")
            for file in files:
                network = build_stacking_cnn(len(members), len(columns))
                network.load_weights(file)
                together[:, columns] += predict_stacked(network, logits, columns) / len(files)
    path = predictions_path(session)
    save_predictions(path, ids, names, together, store.own_sha256, store.records_sha256)
    print(f"stacked: {len(members)} members, {o.stack}, {len(ids)} records -> {path}")


def model_names(folders):
    """Names of the columns of what each member says: by its place, as folders may have like names."""
    return [f"{place}_{re.sub('[^A-Za-z0-9_.-]', '_', folder.name)}" for place, folder in enumerate(folders)]


def groups_of(stack, names):
    """{name: int columns} of the networks."""
    return {"all": np.arange(len(names))} if stack == "cnn" else label_groups(names)


def group_numbers(names):
    """int [labels]: the number of each label's group."""
    numbers = np.zeros(len(names), int)
    for number, columns in enumerate(label_groups(names).values()):
        numbers[columns] = number
    return numbers


def image_values(session, ids):
    """float32 [n, 4]: IMAGE_COLUMNS of the records, by the size of the images they were made of."""
    store = session.store
    sizes = store.images().set_index("image_id")[["height", "width"]]
    record_ids, image_ids = store.manifest["id"].tolist(), store.manifest["image_id"].tolist()
    found = {}
    for row, data in tqdm(stored_images(store), total=len(store.manifest), desc="looking at the images",
                          unit=" records", delay=2):
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        found[record_ids[row]] = image_features(image, *sizes.loc[image_ids[row]])
    return np.stack([found[record_id] for record_id in ids])
