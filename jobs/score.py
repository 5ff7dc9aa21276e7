"""--job=score: F1 of the run's submission.csv against the annotated pages."""
from inference.kuzushiji_score import score_pages
from inference.submissions import read_submission
from jobs.errors import OptionError
from records.annotations import read_truth


def run(session):
    path = session.run.folder / "submission.csv"
    truth, predictions = read_truth(session.options.truth_csv), read_submission(path)
    odd = sorted(set(truth) ^ set(predictions))
    if odd:
        raise OptionError(f"{path} and {session.options.truth_csv} do not have the same pages "
                          f"({len(odd)} only in one, for instance {odd[0]!r})")
    score = score_pages(truth, predictions)
    session.run.update(score={"f1": round(score.f1, 6), "precision": round(score.precision, 6),
                              "recall": round(score.recall, 6)})
    print(f"scored: F1 {score.f1:.4f} (precision {score.precision:.4f}, recall {score.recall:.4f}; "
          f"{score.matched} of {score.true} characters on {len(truth)} pages) -> {path}")
