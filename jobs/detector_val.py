"""--job=val of --task=detect: scores of a run on the validation pages of its store."""
from jobs.detection import describe, validation
from jobs.errors import OptionError
from jobs.val import check_classes, check_split


def run(session):
    session.check_packing()
    check_split(session)
    if session.run.info["classes"] != "none":
        check_classes(session)
    if not len(session.rows[1]):
        raise OptionError("the split has no validation page")
    figures = validation(session, session.options.scales, precisions=True)(session.model)
    session.run.update(validation={k: round(v, 6) for k, v in figures.items()})
    print(f"validated: {session.run.folder}, {len(session.rows[1])} pages: {describe(figures)}")
