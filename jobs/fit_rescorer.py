"""--job=fit_rescorer: the predictor of false positives -> the folder --rescorer.

It learns from what the run has read on annotated pages that it was not trained on, those of a
validation. The folder holds the boosters, search.json, thresholds.csv and importances.png.
"""
from inference.box_features import FEATURES, box_features
from inference.false_positive_search import search
from inference.false_positives import fit, matched
from inference.keep_threshold import choose_threshold
from inference.kuzushiji_score import score_pages
from inference.submissions import centre_points
from jobs.detection import by_page
from jobs.errors import OptionError, option_errors
from jobs.readings import page_sizes, readings
from records.annotations import read_truth
from records.files import write_text
from reports.importances import draw_importances


FEW = 20_000  # boxes


def run(session):
    o, folder = session.options, session.options.rescorer
    if folder.exists() and not (folder.is_dir() and (
            (folder / "rescorer.json").exists() or (folder / "search.json").exists() or
            not any(folder.iterdir()))):
        raise OptionError(f"{folder} exists and is no predictor of false positives: give another "
                          "--rescorer")
    read, sizes = readings(session), page_sizes(session)
    truth = read_truth(o.truth_csv)
    missing = sorted(set(sizes) - set(truth))
    if missing:
        raise OptionError(f"{o.truth_csv} lacks {len(missing)} of the {len(sizes)} pages that were read, "
                          f"for instance {missing[0]!r}")
    truth = {page: truth[page] for page in sizes}
    features, target = box_features(read, sizes), matched(read, truth)
    pages = read["image_id"].to_numpy()
    folder.mkdir(parents=True, exist_ok=True)
    params, threads = None, 1 if len(read) < FEW else 0  # several would only wait for each other
    with option_errors():
        if o.rescorer_trials:
            study = search(features, target, pages, seed=o.seed, path=folder / "search.json",
                           n_trials=o.rescorer_trials, num_threads=threads)
            params = study.best_params
            print(f"searched: {len(study.trials)} trials, log loss {study.best_value:.5f} "
                  f"(published parameters: {study.trials[0].value:.5f})")
        rescorer = fit(features, target, pages, params, seed=o.seed, num_threads=threads,
                       progress=True)
    rescorer.threshold, f1, table = choose_threshold(rescorer.out_of_fold, read, truth)
    points = {page: (labels, centre_points(boxes))
              for page, (labels, boxes, _) in by_page(read, truth).items()}
    before = score_pages(truth, points).f1
    rescorer.figures = {"boxes": len(read), "right": int(target.sum()), "pages": len(truth),
                        "f1": round(f1, 6), "f1_without": round(before, 6), "reader": str(session.run.folder)}
    rescorer.save(folder)
    write_text(folder / "thresholds.csv", table.round(6).to_csv(index=False, lineterminator="\n"))
    draw_importances(folder / "importances.png", rescorer.importances(), FEATURES)
    print(f"false positives: F1 {f1:.4f} out of fold on {len(truth)} pages, {before:.4f} without; "
          f"{(~target).sum()} of {len(read)} boxes are false; a box stays from a probability of "
          f"{rescorer.threshold:.3f} on -> {folder}")
