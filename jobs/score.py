"""--job=score: scores of what the run read (or only found) against the annotated pages."""
import pandas as pd

from inference.kuzushiji_score import false_positives_on, score_centres, score_pages
from inference.submissions import centre_points, read_submission
from jobs.detect import detections_path, read_found
from jobs.detection import average_precisions, by_page
from jobs.errors import OptionError
from records.annotations import read_truth
from records.files import write_text
from records.unread import read_unread


def add_score(path, name, figures):
    """Puts a row into the table of scores at `path`, and prints it."""
    columns = ["name", "f1", "precision", "recall", "centre_precision", "centre_recall"]
    row = {"name": name} | {column: f"{figures[column]:.4f}" for column in columns if column in figures}
    table = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame(columns=columns)
    table = pd.concat([table[table["name"] != name], pd.DataFrame([row], columns=columns)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    print(table.to_string(index=False))


def run(session):
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
    if session.options.score_csv:
        add_score(session.options.score_csv, session.options.score_name or str(session.run.folder), figures)
    session.run.update(score={k: round(v, 6) if isinstance(v, float) else v
                              for k, v in figures.items()})
