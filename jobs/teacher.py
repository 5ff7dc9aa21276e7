"""The run that a training learns from, besides the labels: --teacher."""
from jobs.errors import OptionError, option_errors
from jobs.run_directory import RunError, open_run
from training.distillation import Distillation


def open_teacher(session):
    """The run of --teacher, or None. Raises OptionError where it does not fit what is to be trained."""
    o = session.options
    if not o.teacher:
        return None
    try:
        teacher = open_run(o.teacher, o.task, option="--teacher")
        teacher.weights()
    except RunError as error:
        raise OptionError(f"--teacher={o.teacher}: {error}") from error
    if not teacher.info.get("finished"):
        raise OptionError(f"--teacher={o.teacher} is not trained to its end: train it on, or give "
                          "another run")
    if teacher.class_names != session.store.class_names:
        odd = sorted(set(session.store.class_names) ^ set(teacher.class_names))[:3]
        raise OptionError(f"--teacher={o.teacher} has other classes than {session.store.folder}, they "
                          f"differ in {', '.join(odd) or 'their order'}: give a run of the same classes")
    if teacher.info.get("aux"):
        raise OptionError(f"--teacher={o.teacher} takes a vector beside each image, which a student has not: "
                          "give a run that was trained without --aux_features")
    own, its = session.input, teacher.info["input"]
    if (own["size"], own["channels"]) != (its["size"], its["channels"]):
        raise OptionError(f"--teacher={o.teacher} takes images of {its['size']} px in {its['channels']} "
                          f"channels, this run {own['size']} px in {own['channels']}: give --dim="
                          f"{its['size']} --n_channels={its['channels']}, or another teacher")
    return teacher


def distillation(session, student, teacher):
    """The training.distillation.Distillation that the options ask for; None without a teacher.

    teacher: of open_teacher. Call it in the strategy's scope. The teacher computes under the mixed-
    precision policy of this run, whatever it was trained under.
    """
    if teacher is None:
        return None
    o, network = session.options, session.build(teacher)
    try:
        network.load_weights(teacher.weights())
    except (OSError, ValueError) as error:
        raise OptionError(f"--teacher={o.teacher}: {teacher.weights()} does not fit its network or is "
                          f"damaged: {error}") from error
    with option_errors():
        made = Distillation(
            student, network, weight=o.teacher_weight, temperature=o.teacher_temperature,
            attention_weight=o.attention_weight, student_input=session.input,
            teacher_input=teacher.info["input"])
    print(f"teacher: {teacher.folder}, {teacher.info['network']['backbone']}" + (
        f"; attention at {', '.join(f'{h}x{w}' for h, w in made.sizes)}" if made.sizes else ""))
    return made
