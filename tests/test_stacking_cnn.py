"""The stacking network: the mean at first, better where models differ, bits by the seed, no leakage."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from inference.multilabel import MultilabelError
from inference.stacking import StackingError, predict_stacked, stack_out_of_fold
from models.stacking_cnn import build_stacking_cnn, network_inputs
from training.stacking import StackingTrainingError, fit_stacking_cnn, held_back

SMALL = {"n_filters": 4, "widths": (24,), "dropout": 0.1, "progress": False}


def planted(n, seed, n_labels=6):
    """(logits [2, n, k], truth): model 0 knows the even labels, model 1 the odd; of others they guess."""
    random = np.random.default_rng(seed)
    truth = random.random((n, n_labels)) < 0.4
    logits = random.normal(0, 3, (2, n, n_labels)).astype(np.float32)
    for model in (0, 1):
        known = truth[:, model::2]
        logits[model, :, model::2] = 3.0 * known - 1.5 + random.normal(0, 0.7, known.shape)
    return logits, truth


def loss(truth, logits):
    """Mean binary cross-entropy, float64."""
    logits = np.float64(logits)
    return np.mean(truth * np.logaddexp(0, -logits) + ~truth * np.logaddexp(0, logits))


def weights_of(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


@pytest.mark.parametrize("n_models, kernel, inputs", [
    (1, 3, "logits"), (2, 3, "logits"), (3, 3, "probabilities"), (5, 3, "logits"), (5, None, "logits"),
    (2, None, "probabilities")])
def test_untrained_it_is_the_mean_of_the_models(n_models, kernel, inputs):
    logits = np.random.default_rng(0).normal(-3, 3, (n_models, 9, 4)).astype(np.float32)
    given = 1 / (1 + np.exp(-logits)) if inputs == "probabilities" else logits
    model = build_stacking_cnn(n_models, 4, kernel=kernel, inputs=inputs, seed=1)
    told = predict_stacked(model, given, batch_size=4)  # the last batch is smaller
    assert told.dtype == np.float32 and told.shape == (9, 4)
    np.testing.assert_allclose(told, logits.mean(0), atol=1e-5,
                               rtol=1e-3 if inputs == "probabilities" else 1e-5)
    assert model.get_layer("between_models").kernel.shape[:2] == (min(kernel or n_models, n_models), 1)
    assert predict_stacked(model, given[:, :0]).shape == (0, 4)


def test_probabilities_of_0_and_1_give_finite_logits():
    model = build_stacking_cnn(2, 3, inputs="probabilities", seed=0)
    told = predict_stacked(model, np.float32([[[0, 1, 0.5]], [[0, 1, 0.5]]]))
    np.testing.assert_allclose(told, [[-np.log(1e6), np.log(1e6), 0]], rtol=1e-2, atol=1e-6)


def test_the_convolution_is_within_a_label_and_the_dense_layers_between():
    model = build_stacking_cnn(4, 5, n_filters=2, widths=(16, 8), dropout=0, seed=3)
    model.get_layer("change").kernel.assign(tf.ones((8, 5)))
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 1)).astype(np.float32)
    other = x.copy()
    other[:, :, 2] += 3
    between = keras.Model(model.input, model.get_layer("between_models").output)
    a, b = between(x).numpy(), between(other).numpy()  # [1, 2, 5, filters]
    assert a.shape == (1, 2, 5, 2) and (a[:, :, 2] != b[:, :, 2]).any()
    assert np.array_equal(np.delete(a, 2, 2), np.delete(b, 2, 2))
    change = (model(other) - model(x)).numpy()[0]
    assert (change[[0, 1, 3, 4]] != 0).all()
    # By hand: the kernel slides over the models, the same for every label.
    kernel, bias = model.get_layer("between_models").get_weights()
    by_hand = [np.einsum("mkc,mcf->kf", x[0, m:m + 3], kernel[:, 0]) + bias for m in (0, 1)]
    np.testing.assert_allclose(a[0], np.maximum(by_hand, 0), rtol=1e-5, atol=1e-6)


def test_it_is_float32_under_mixed_precision_and_survives_a_file(tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = build_stacking_cnn(3, 4, seed=5, inputs="probabilities", widths=(8,))
        model.get_layer("change").kernel.assign(tf.random.stateless_normal((8, 4), (1, 2)))
        x = np.random.default_rng(0).random((6, 3, 4, 1)).astype(np.float32)
        told = model(x)
        assert told.dtype == tf.float32 and {w.dtype for w in model.trainable_weights} == {tf.float32}
        model.save(tmp_path / "stacking.keras")
    finally:
        keras.mixed_precision.set_global_policy(before)
    loaded = keras.models.load_model(tmp_path / "stacking.keras", compile=False)
    np.testing.assert_array_equal(loaded(x), told)
    assert model.get_layer("mean").inputs == loaded.get_layer("mean").inputs == "probabilities"


def test_what_is_dropped_survives_a_resume(tmp_path):
    model, other = (build_stacking_cnn(3, 4, seed=seed, widths=(8,)) for seed in (1, 2))
    for one in (model, other):
        one.get_layer("change").kernel.assign(tf.ones((8, 4)))
    x = np.random.default_rng(0).random((6, 3, 4, 1)).astype(np.float32)
    assert not np.array_equal(model(x, training=True), model(x, training=True))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    expected = model(x, training=True).numpy()
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other(x, training=True), expected)


def test_it_learns_which_model_knows_which_labels():
    logits, truth = planted(800, 0)
    new_logits, new_truth = planted(600, 1)
    model = fit_stacking_cnn(logits, truth, seed=0, n_epochs=12, batch_size=64, lr=1e-2, **SMALL)
    stacked, mean = predict_stacked(model, new_logits), new_logits.mean(0)
    assert loss(new_truth, stacked) < 0.5 * loss(new_truth, mean)
    assert ((stacked > 0) != new_truth).mean() < 0.5 * ((mean > 0) != new_truth).mean()


def test_the_seed_decides_the_bits_and_no_global_state_does():
    logits, truth = planted(150, 2)
    fit = functools.partial(fit_stacking_cnn, logits, truth, n_epochs=3, batch_size=32, stop_share=0, **SMALL)
    keras.utils.set_random_seed(1)
    first = weights_of(fit(seed=7))
    after = np.random.random(), tf.random.uniform([]).numpy()
    keras.utils.set_random_seed(1)
    assert after == (np.random.random(), tf.random.uniform([]).numpy())
    np.testing.assert_array_equal(weights_of(fit(seed=7)), first)
    assert not np.array_equal(weights_of(fit(seed=8)), first)


def test_columns_are_a_network_of_their_own():
    logits, truth = planted(120, 3)
    columns, options = [4, 0, 3], dict(seed=1, n_epochs=2, batch_size=32, **SMALL)
    model = fit_stacking_cnn(logits, truth, columns=columns, **options)
    same = fit_stacking_cnn(logits[..., columns], truth[:, columns], **options)
    np.testing.assert_array_equal(weights_of(model), weights_of(same))
    np.testing.assert_array_equal(predict_stacked(model, logits, columns),
                                  predict_stacked(same, logits[..., columns]))


def test_it_stops_with_the_weights_of_the_lowest_loss_the_mean_included():
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (2, 60, 5)).astype(np.float32)
    truth = random.random((60, 5)) < 1 / (1 + np.exp(-logits.mean(0)))  # the mean is all there is to know
    training, held = held_back(60, 0.3, 4)
    assert len(held) == 18 and sorted([*training, *held]) == list(range(60))
    options = dict(seed=4, batch_size=16, stop_share=0.3, **{**SMALL, "dropout": 0.0})
    losses = []
    for lr, n_epochs in [(1e-3, 12), (1.0, 6)]:
        model = fit_stacking_cnn(logits, truth, lr=lr, n_epochs=n_epochs, patience=12, **options)
        losses.append(loss(truth[held], predict_stacked(model, logits[:, held])))
    mean = loss(truth[held], logits[:, held].mean(0))
    assert losses[0] <= mean + 1e-6 and losses[1] == pytest.approx(mean, abs=1e-6)  # 1.0: only worse
    # Stopped by patience, not by the number of epochs.
    few, many = (fit_stacking_cnn(logits, truth, lr=1.0, n_epochs=n, patience=2, **options) for n in (2, 5000))
    np.testing.assert_array_equal(weights_of(few), weights_of(many))
    assert [len(rows) for rows in held_back(2, 0.01, 0)] == [1, 1]
    assert [len(rows) for rows in held_back(5, 0, 0)] == [5, 0]


def spying(seen, shift=0.0):
    def fit(logits, truth, seed):
        seen.append((logits, truth, seed))
        return lambda new: new.mean(0) + shift + truth.mean(0)
    return fit


def test_no_image_is_told_by_what_saw_it():
    logits, truth = planted(40, 5)
    logits[:, :, 0] = np.arange(40)  # tells the images apart
    folds, seen = np.random.default_rng(0).permutation(np.repeat([0, 1, 4], [10, 14, 16])), []
    told, predictors = stack_out_of_fold(spying(seen), logits, truth, folds, seed=3)
    assert told.dtype == np.float32 and len(predictors) == 3
    for number, fold in enumerate([0, 1, 4]):
        mine = folds == fold
        own_logits, own_truth, _ = seen[number]
        assert set(own_logits[0, :, 0]) == set(np.flatnonzero(~mine))
        np.testing.assert_array_equal(own_truth, truth[~mine])
        np.testing.assert_allclose(told[mine], logits[:, mine].mean(0) + truth[~mine].mean(0), rtol=1e-6)
        flipped = np.where(mine[:, None], ~truth, truth)
        again, _ = stack_out_of_fold(spying([]), logits, flipped, folds, seed=3)
        np.testing.assert_array_equal(again[mine], told[mine])
        assert not np.array_equal(again[~mine], told[~mine])
    seeds = [seed for *_, seed in seen]
    assert len(set(seeds)) == 3
    stack_out_of_fold(spying(seen), logits, truth, folds, seed=3)
    stack_out_of_fold(spying(seen), logits, truth, folds, seed=4)
    assert [seed for *_, seed in seen[3:6]] == seeds and {seed for *_, seed in seen[6:]}.isdisjoint(seeds)
    # A group's columns, in their order.
    some, _ = stack_out_of_fold(spying([]), logits, truth, folds, columns=[5, 1])
    np.testing.assert_array_equal(some, told[:, [5, 1]])


def test_networks_out_of_fold_beat_the_mean():
    logits, truth = planted(600, 6)
    folds = np.arange(600) % 2

    def fit(logits, truth, seed):
        model = fit_stacking_cnn(logits, truth, seed=seed, n_epochs=8, batch_size=64, lr=1e-2, **SMALL)
        return functools.partial(predict_stacked, model)
    told, _ = stack_out_of_fold(fit, logits, truth, folds)
    assert loss(truth, told) < 0.75 * loss(truth, logits.mean(0))


def test_inputs_of_rows_and_columns():
    logits = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float16)
    x = network_inputs(logits, [6, 2], [4, 0])
    assert x.shape == (2, 3, 2, 1) and x.dtype == np.float32
    assert all(x[b, m, k, 0] == logits[m, row, column] for b, row in enumerate([6, 2])
               for k, column in enumerate([4, 0]) for m in range(3))


LOGITS, TRUTH = planted(10, 0)


@pytest.mark.parametrize("call, error, says", [
    (lambda: build_stacking_cnn(0, 3), ValueError, "0 models"),
    (lambda: build_stacking_cnn(2, 3, widths=()), ValueError, "one width at least"),
    (lambda: build_stacking_cnn(2, 3, kernel=0), ValueError, "kernel 0"),
    (lambda: build_stacking_cnn(2, 3, dropout=1.0), ValueError, "dropout 1.0"),
    (lambda: build_stacking_cnn(2, 3, inputs="logit"), ValueError, "not 'logit'"),
    (lambda: fit_stacking_cnn(LOGITS, TRUTH[:4], seed=0), StackingTrainingError, "of the same images"),
    (lambda: fit_stacking_cnn(LOGITS, TRUTH * 1, seed=0), StackingTrainingError, "truth int64"),
    (lambda: fit_stacking_cnn(LOGITS * np.nan, TRUTH, seed=0), StackingTrainingError, "not finite"),
    (lambda: fit_stacking_cnn(LOGITS, TRUTH, seed=0, n_epochs=0), StackingTrainingError, "n_epochs"),
    (lambda: fit_stacking_cnn(LOGITS, TRUTH, seed=0, stop_share=1), StackingTrainingError, "stop_share"),
    (lambda: fit_stacking_cnn(LOGITS[:, :1], TRUTH[:1], seed=0), StackingTrainingError, "one image"),
    (lambda: fit_stacking_cnn(LOGITS * 1e20, TRUTH, seed=0, lr=1e30, progress=False), StackingTrainingError,
     "lower the learning rate"),
    (lambda: stack_out_of_fold(None, LOGITS, TRUTH, np.zeros(10, int)), MultilabelError, "with one fold"),
    (lambda: stack_out_of_fold(None, LOGITS, TRUTH, np.arange(10) - 1), StackingError, "got -1"),
    (lambda: stack_out_of_fold(None, LOGITS[0], TRUTH, np.arange(10)), StackingError, "logits are .10, 6."),
    (lambda: stack_out_of_fold(spying([], np.nan), LOGITS, TRUTH, np.arange(10)), StackingError, "finite 0%"),
    (lambda: stack_out_of_fold(lambda *_: lambda new: new[0, :, :2], LOGITS, TRUTH, np.arange(10) % 2),
     StackingError, r"told \[5, 2\] for \[5, 6\]")])
def test_what_does_not_fit_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
