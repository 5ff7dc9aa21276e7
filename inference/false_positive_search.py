"""Parameters of the false-positive predictor, searched by Optuna (system A)."""
import hashlib
import json
import pathlib

import lightgbm
import numpy as np
import optuna
from tqdm import tqdm

from inference.box_features import FEATURES
from inference.false_positives import PUBLISHED, checked_features, grouped_folds, lightgbm_settings
from records.files import write_json

FORMAT_VERSION = 1
REPORT_EVERY = 10  # rounds; a trial worse than the median of the others there is given up
SPACE = {"lambda_l1": optuna.distributions.FloatDistribution(1e-8, 10, log=True),
         "lambda_l2": optuna.distributions.FloatDistribution(1e-8, 10, log=True),
         "num_leaves": optuna.distributions.IntDistribution(2, 256),
         "feature_fraction": optuna.distributions.FloatDistribution(0.4, 1),
         "bagging_fraction": optuna.distributions.FloatDistribution(0.4, 1),
         "bagging_freq": optuna.distributions.IntDistribution(1, 7),
         "min_child_samples": optuna.distributions.IntDistribution(5, 100)}


class SearchError(ValueError):
    """A file of trials that is damaged, or of another search."""


def search(features, target, pages, *, seed, path, n_trials=200, start=None, rounds=200,
           early_stopping=50, n_folds=5, num_threads=0, progress=True):
    """An optuna.Study of n_trials; best_params and best_value (log loss, natural) are what it found.

    features, target, pages, rounds, early_stopping, n_folds: as of inference.false_positives.fit.
    start: the first trial's parameters, all of SPACE; None: PUBLISHED. A trial's value is the mean log
    loss of the folds' pages at the best round.

    The finished trials are in the JSON file `path`, written anew after each. A search that was cut off
    goes on there and ends where it would have: a trial depends on the seed and those before it alone.
    Raises SearchError if the file is damaged or of other data, seed or settings (n_trials may grow).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows, target, pages = checked_features(features), np.asarray(target, bool), np.asarray(pages)
    start = dict(PUBLISHED if start is None else start)
    _check_start(start)
    fold = grouped_folds(target, pages, n_folds, seed)
    digest = _digest(rows, target, pages, start, seed, rounds, early_stopping, n_folds)
    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(
        n_startup_trials=5, n_warmup_steps=3 * REPORT_EVERY))
    path = pathlib.Path(path)
    study.add_trials(_read(path, digest))
    data = lightgbm.Dataset(rows, target.astype(np.float32), feature_name=list(FEATURES),
                            params=lightgbm_settings({}, seed, num_threads)).construct()
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]

    with tqdm(total=n_trials, initial=min(len(study.trials), n_trials), desc="searching",
              unit=" trials", disable=not progress) as bar:
        for number in range(len(study.trials), n_trials):
            # Seeded anew each time: a sampler that a resumed search began afresh would repeat itself.
            study.sampler = optuna.samplers.TPESampler(
                seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
            if number == 0:
                study.enqueue_trial(start)
            trial = study.ask(SPACE)
            try:
                settings = lightgbm_settings(trial.params, seed, num_threads)
                study.tell(trial, _loss(trial, settings, data, splits, rounds, early_stopping))
            except optuna.TrialPruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            _write(path, digest, study)
            bar.set_postfix_str(f"log loss {study.best_value:.5f}", refresh=False)
            bar.update()
    return study


def _loss(trial, settings, data, splits, rounds, early_stopping):
    """Mean log loss of the held-out pages at the best round. Raises TrialPruned."""
    def report(env):
        if (env.iteration + 1) % REPORT_EVERY == 0:
            trial.report(env.evaluation_result_list[0][2], env.iteration + 1)  # the mean of the folds
            if trial.should_prune():
                raise optuna.TrialPruned

    callbacks = [report]
    if early_stopping:
        callbacks.append(lightgbm.early_stopping(early_stopping, verbose=False))
    course = lightgbm.cv(settings, data, rounds, folds=splits, callbacks=callbacks)
    return min(course["valid binary_logloss-mean"])


def _write(path, digest, study):
    write_json(path, {"format_version": FORMAT_VERSION, "search": digest, "trials": [
        {"state": trial.state.name, "value": trial.value, "params": trial.params,
         "course": trial.intermediate_values} for trial in study.trials]})


def _read(path, digest):
    """The trials of the file, none if it is not there."""
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version, found = record["format_version"], record["search"]
        trials = [optuna.trial.create_trial(
            state=optuna.trial.TrialState[trial["state"]], value=trial["value"], params=trial["params"],
            distributions=SPACE, intermediate_values={int(k): v for k, v in trial["course"].items()})
            for trial in record["trials"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SearchError(f"{path} is not a file of trials, or damaged: {error!r}; delete it to search "
                          "from the beginning") from error
    if version != FORMAT_VERSION or found != digest:
        raise SearchError(f"{path} is of a search with other boxes, pages, seed or settings: give "
                          "another path, or delete it to search from the beginning")
    return trials


def _check_start(start):
    outside = [name for name in {**SPACE, **start} if name not in SPACE or name not in start
               or not SPACE[name].low <= start[name] <= SPACE[name].high]
    if outside:
        raise ValueError(f"start must have a value in its range for each of {', '.join(SPACE)}; wrong "
                         f"or missing: {', '.join(outside)}")


def _digest(rows, target, pages, *settings):
    """What a search depends on, as text."""
    digest = hashlib.sha256(repr((FEATURES, list(SPACE.items()), settings)).encode())
    for values in (rows.tobytes(), target.tobytes(), "\n".join(pages.tolist()).encode()):
        digest.update(values)
    return digest.hexdigest()
