"""--job=score: scores of what the run read (or only found), or of a submission, against the truth."""
import pandas as pd

from inference.kuzushiji_score import false_positives_on, score_centres, score_pages
from inference.submissions import centre_points, read_submission
from jobs import multilabel, product_submission, turtle
from jobs.detect import detections_path, read_found
from jobs.detection import average_precisions, by_page
from jobs.errors import OptionError
from records.annotations import read_truth
from records.files import write_text
from records.unread import read_unread


# Of the table; and f2 of all labels and of groups, accuracy of levels of category and of groups of products.
COLUMNS = ("f1", "precision", "recall", "centre_precision", "centre_recall", "map_at_5")


def run(session):
    o = session.options
    told = (multilabel.score if o.task == "multilabel" else turtle.score if turtle.is_meant(session) else
            product_submission.score if product_submission.is_scored(session) else score_read)
    figures = told(session)
    if o.score_csv:
        add_score(o.score_csv, o.score_name or str(session.run.folder), figures)
    session.run.update(score={k: round(v, 6) if isinstance(v, float) else v
                              for k, v in figures.items()})


def add_score(path, name, figures):
    """Puts a row into the table of scores at `path`, and prints the table."""
    columns = ["name", *(column for column in figures
                         if column in COLUMNS or column.startswith(("f2", "accuracy")))]
    row = {"name": name} | {column: f"{figures[column]:.4f}" for column in columns[1:]}
    table = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame(columns=columns)
    table = pd.concat([table[table["name"] != name], pd.DataFrame([row])])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    print(table.to_string(index=False))


def score_read(session):
    """Prints and returns the figures of pages."""
    truth, figures = read_truth(session.options.truth_csv), {}
    detects = session.options.task == "detect"
    reads = not detects or session.run.info["classes"] != "none"
    if detects:
        path, frame = detections_path(session), read_found(session)
        pages = session.store.images()["image_id"].tolist()
        points = {page: (labels, centre_points(boxes))
                  for page, (labels, boxes, _) in by_page(frame, pages).items()}
    else:
        path = session.run.folder / "submission.csv"
        points = read_submission(path)
    odd = sorted(set(truth) ^ set(points))
    if odd:
        raise OptionError(f"{path} and {session.options.truth_csv} do not have the same pages "
                          f"({len(odd)} only in one, for instance {odd[0]!r})")

    if reads:
        score = score_pages(truth, points)
        figures |= {"f1": score.f1, "precision": score.precision, "recall": score.recall}
        print(f"scored: F1 {score.f1:.4f} (precision {score.precision:.4f}, recall "
              f"{score.recall:.4f}; {score.matched} of {score.true} characters on {len(truth)} "
              f"pages) -> {path}")
    centres = score_centres(truth, points)
    figures |= {"centre_precision": centres.precision, "centre_recall": centres.recall}
    print(f"  centres, whatever the character: precision {centres.precision:.4f}, recall "
          f"{centres.recall:.4f}")
    if session.options.unread_csv:
        figures["false_positives"] = counts = false_positives_on(
            truth, points, read_unread(session.options.unread_csv))
        print("  centres in excess: " + ", ".join(f"{count} on {kind.replace('_', ' ')}"
                                                  for kind, count in counts.items()))
    if detects:
        precisions = average_precisions(truth, frame, reads, session.options.max_peaks)
        print("  average precision of boxes (COCO): " + ", ".join(
            f"{name} {value:.4f}" for name, value in precisions.items()))
        figures |= precisions
    return figures
