"""--job=val of --task=text: how a run reads the validation lines of its store."""
from jobs.errors import OptionError
from jobs.text import check_steps, padded_texts, texts_of, validation
from jobs.val import check_classes, check_split


def run(session):
    session.check_packing()
    check_split(session)
    check_classes(session)
    rows = session.rows[1]
    if not len(rows):
        raise OptionError("the split has no validation line")
    check_steps(session.store, rows, padded_texts(texts_of(session.store, rows), session.run.class_names),
                session.model.output_shape[1])
    figures = validation(session)(session.model)
    session.run.update(validation={k: round(v, 6) for k, v in figures.items()})
    print(f"validated: {session.run.folder}, character error rate {figures['cer']:.4f}, without a fault "
          f"{figures['exact']:.4f} of {len(rows)} lines")
