"""--job=score: scores of the run's submission.csv, or of its detections, against the annotated pages."""
from inference.kuzushiji_score import false_positives_on, score_centres, score_pages
from inference.submissions import read_submission
from jobs.detect import detections_path
from jobs.detection import average_precisions, box_centres, by_page
from jobs.errors import OptionError
from records.annotations import read_truth
from records.detections import read_detections
from records.unread import read_unread


def run(session):
    truth, figures = read_truth(session.options.truth_csv), {}
    found = None
    if session.options.task == "detect":
        path = detections_path(session)
        frame = read_detections(path)
        _same_pages(path, set(frame["image_id"]) - set(truth), truth)
        found = by_page(frame, truth)
    if found is None or session.run.info["classes"] != "none":
        path = session.run.folder / "submission.csv"
        points = read_submission(path)
        _same_pages(path, set(truth) ^ set(points), truth)
        score = score_pages(truth, points)
        figures |= {"f1": score.f1, "precision": score.precision, "recall": score.recall}
        print(f"scored: F1 {score.f1:.4f} (precision {score.precision:.4f}, recall "
              f"{score.recall:.4f}; {score.matched} of {score.true} characters on {len(truth)} "
              f"pages) -> {path}")
    else:
        points = {page: (labels, box_centres(boxes)) for page, (labels, boxes, _) in found.items()}

    centres = score_centres(truth, points)
    figures |= {"centre_precision": centres.precision, "centre_recall": centres.recall}
    print(f"  centres, whatever the character: precision {centres.precision:.4f}, recall "
          f"{centres.recall:.4f}")
    if session.options.unread_csv:
        figures["false_positives"] = counts = false_positives_on(
            truth, points, read_unread(session.options.unread_csv))
        print("  centres in excess: " + ", ".join(f"{count} on {kind.replace('_', ' ')}"
                                                  for kind, count in counts.items()))
    if found is not None:
        figures |= average_precisions(truth, found, session.run.info["classes"] != "none",
                                      session.options.max_peaks)
        print("  average precision of boxes (COCO): " + ", ".join(
            f"{name} {value:.4f}" for name, value in figures.items() if "ap" in name))
    session.run.update(score={k: round(v, 6) if isinstance(v, float) else v
                              for k, v in figures.items()})


def _same_pages(path, odd, truth):
    if odd:
        raise OptionError(f"{path} does not have the {len(truth)} pages of --truth_csv ({len(odd)} are "
                          f"only in one of them, for instance {min(odd)!r})")
