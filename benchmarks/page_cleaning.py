"""Cleaning only what is cut against cleaning the whole page: time, and that the crops are equal.

  python -m benchmarks.page_cleaning [--csv train.csv --image_dir train_images] [--pages 3]

Without files of your own it renders demo pages. Both ways run in turn on each page; the ratio is
printed with its spread. The limit is the share of the page that boxes with margins cover.
"""
import argparse
import pathlib
import tempfile
import time

import cv2
import numpy as np

from records.annotations import check_image, read_kuzushiji
from records.chunks import grown_rectangles
from records.cleaning import MARGIN, denoise, denoised_crops, local_contrast


def cut_whole(page, rectangles):
    cleaned = denoise(local_contrast(page))
    return [cleaned[y0:y1, x0:x1] for x0, y0, x1, y1 in rectangles]


def cut_local(page, rectangles):
    return list(denoised_crops(local_contrast(page), rectangles))


def timed(function, *arguments):
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=pathlib.Path, help="annotated pages, image_id,labels")
    parser.add_argument("--image_dir", type=pathlib.Path, help="folder of the pages")
    parser.add_argument("--pages", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--repeats", type=int, default=2, help="of each page (default: 2)")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as in packing, where the processes are the parallelism
    with tempfile.TemporaryDirectory() as folder:
        if options.csv is None:
            from records import demo_pages
            demo_pages.main(["--out_dir", f"{folder}/demo"])
            options.csv = pathlib.Path(folder, "demo", "train.csv")
        image_dir = options.image_dir or options.csv.parent / "train_images"
        images, _ = read_kuzushiji(options.csv, image_dir)
        images = [image for image in images if len(image.labels)][:options.pages]
        ratios = []
        for image in images:
            check_image(image, 200, decode=False)
            page = cv2.imread(image.path)
            rectangles = grown_rectangles(image.boxes, 0.05, image.width, image.height)
            sides = rectangles[:, 2:] - rectangles[:, :2] + 2 * MARGIN
            covered = sides.prod(axis=1).sum() / (image.width * image.height)
            for _ in range(options.repeats):
                whole, whole_seconds = timed(cut_whole, page, rectangles)
                local, local_seconds = timed(cut_local, page, rectangles)
                if not all((a == b).all() for a, b in zip(whole, local, strict=True)):
                    raise SystemExit(f"{image.image_id}: the crops differ")
                ratios.append(local_seconds / whole_seconds)
                print(f"{image.image_id}: {len(rectangles)} boxes, {image.width} x {image.height} px,"
                      f" whole {whole_seconds:.2f} s, local {local_seconds:.2f} s, ratio "
                      f"{ratios[-1]:.3f}, boxes with margins cover {covered:.3f}, crops identical")
    print(f"ratio local / whole: median {np.median(ratios):.3f}, {min(ratios):.3f} to "
          f"{max(ratios):.3f} over {len(ratios)} runs")


if __name__ == "__main__":
    main()
