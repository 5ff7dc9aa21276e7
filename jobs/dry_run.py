"""--dry_run of --job=train: a few steps, a few batches of validation, and what the whole would cost."""
import copy
import math
import time

from jobs import detection, val
from jobs.errors import OptionError
from training.cost import bytes_of, network_flops, peak_memory
from training.devices import device_kind
from training.loop import Training
from training.optimizers import optimizer_variables
from training.workers import cluster, distributed

# Of each measurement: so many calls at least, and so many seconds.
CALLS, SECONDS = 3, 2
VALIDATED_BATCHES = 8  # at most; one where a step takes long


def dry_run(session, model, plan, batches_of, xla):
    """Prints what the training would cost; writes nothing. model: ready to train, and changed by the
    steps taken. plan, batches_of, xla: see training.loop.Training."""
    if cluster()[1] > 1:
        raise OptionError("--dry_run is about one machine: unset TF_CONFIG")
    strategy, source = session.strategy, session.source[0]
    size, channels = session.input["size"], session.input["channels"]
    with strategy.scope():
        forward, both = network_flops(model, (size, size, channels),
                                      session.run.info["network"].get("pictures", 1))
    compilation, step = time_steps(model, strategy, session.run.folder, plan, batches_of, xla)
    batches = iter(batches_of(0, 0, 1).repeat())
    making = seconds_each(lambda: next(batches))
    on_host = device_kind(strategy) == "CPU"
    total = compilation + plan.n_epochs * plan.steps_per_epoch * seconds_of_step(step, making, on_host)
    limit = "input" if making > step else "step"
    whole = f"{plan.n_epochs} epochs of {plan.steps_per_epoch} steps, limited by the {limit}"
    rows = {
        "parameters": f"{model.count_params() / 1e6:.2f} M, of which learn "
                      f"{sum(math.prod(v.shape) for v in model.trainable_variables) / 1e6:.2f} M",
        "FLOPs": f"of an image {forward / 1e9:.3g} G forward, {both / 1e9:.3g} G forward and backward "
                 "(convolutions and matrix products of the network, a multiply-add is 2)",
        "variables": ", ".join(f"{name} {bytes_of(variables) / 1e6:.1f} MB"
                               for name, variables in variables_of(model).items()) + ", on each device",
        "cache": f"{source.kind}, {source.held / 1e9:.3g} GB",
        "compilation": f"{compilation:.1f} s",
        "step": f"{1e3 * step:.1f} ms, {plan.batch_size / step:,.0f} images/s, "
                f"{both * plan.batch_size / step / 1e9:,.0f} GFLOP/s",
        "input": f"{1e3 * making:.1f} ms a batch by itself, {plan.batch_size / making:,.0f} images/s"}
    if len(session.rows[1]):
        seconds, count = time_validation(session, model, step)
        times = len(validated_epochs(plan))
        rows["validation"] = f"{1e3 * seconds:.1f} ms a batch"
        total += times * count * seconds
        whole += f"; {times} validations of {count} batches"
    rows["peak memory"] = ", ".join(f"{name} {held / 1e9:.2f} GB"
                                    for name, held in peak_memory().items())
    rows["whole run"] = f"{total / 3600:.2g} h: {whole}"
    print("\n".join(["dry run:", *(f"  {name:<13}{text}" for name, text in rows.items())]))
    print("dry run: nothing was kept" + (" but the cache's file" if source.kind == "file" else ""))


def variables_of(model):
    groups = {"weights": model.weights, "optimizer": optimizer_variables(model.optimizer)}
    return groups | ({"averages": model.averages.variables} if model.averages else {})


def validated_epochs(plan):
    return [epoch for epoch in range(1, plan.n_epochs + 1)
            if epoch % plan.validate_every_epochs == 0 or epoch == plan.n_epochs]


def seconds_of_step(step, making, on_host):
    """Seconds that a step takes with its input. step, making: of each by itself. on_host: the same
    cores do both, so that one waits for the other."""
    return step + making if on_host else max(step, making)


def seconds_each(function):
    """Mean time of a call, after a first one that is not counted."""
    function()
    start, calls = time.perf_counter(), 0
    while calls < CALLS or time.perf_counter() - start < SECONDS:
        function()
        calls += 1
    return (time.perf_counter() - start) / calls


def time_steps(model, strategy, folder, plan, batches_of, xla):
    """(seconds of compilation, of a step) of the loop's own step, on one batch again and again."""
    training = Training(model, strategy, folder, plan, batches_of, xla=xla)
    iterator = iter(distributed(
        strategy, lambda worker, n: batches_of(0, worker, n).take(1).cache().repeat(),
        plan.batch_size))

    def execute():
        training.execute(iterator, plan.steps_per_execution)
        float(model.metrics[0].result())  # waits for the device
    start = time.perf_counter()
    execute()
    first, each = time.perf_counter() - start, seconds_each(execute)
    return max(first - each, 0), each / plan.steps_per_execution


def time_validation(session, model, step):
    """(seconds of a batch, how many batches there are). step: seconds of a training step."""
    detect = session.options.task == "detect"
    size = session.strategy.num_replicas_in_sync if detect else session.options.batch_size
    train_rows, val_rows = session.rows
    tried = max(1, min(VALIDATED_BATCHES, int(SECONDS / step)))
    few = copy.copy(session)
    few.rows = train_rows, val_rows[:tried * size]
    figures = (detection.validation(few, [1.0], precisions=False) if detect else val.validation(few))
    figures(model)  # compiles
    start = time.perf_counter()
    figures(model)
    return (time.perf_counter() - start) / math.ceil(len(few.rows[1]) / size), math.ceil(
        len(val_rows) / size)
