"""Re-identification on real characters: MAP@5 by classes and by neighbours, and who is new.

  python -m benchmarks.reidentification --data_dir images_background_small1.zip [options of run.py]

Each character of Omniglot is an individual. Of all 136, drawers 1-15 train, 16-20 are asked about, by the
classifier and by the nearest of the training images. Then --held_out characters are taken out: a network
that has never seen them asks of drawers 16-20 of the others, and of all drawers of these, whether they are
known. AUROC needs no threshold; the shares are those at the threshold that is fitted on them.
"""
import argparse
import csv
import json
import pathlib
import random
import subprocess
import sys
import zipfile

from inference.predict import read_predictions
from inference.ranking import map_at_k, top_k


def prepare(archive, folder, held_out, seed):
    """Unpacks the images, and writes all.csv, known.csv and new.csv: path,label,group (the drawer)."""
    if (folder / "new.csv").exists():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(n for n in file.namelist() if n.endswith(".png")):
            image = f"images/{len(rows):05}.png"
            (folder / image).write_bytes(file.read(name))
            label, _, drawing = name.rpartition("/")
            rows.append((image, label, int(drawing[:-4].rpartition("_")[2])))
    new = set(random.Random(seed).sample(sorted({row[1] for row in rows}), held_out))
    for name, part in (("all", rows), ("known", [r for r in rows if r[1] not in new]),
                       ("new", [r for r in rows if r[1] in new])):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label", "group"), *part])


def call(program, *options):
    subprocess.run([sys.executable, program, *map(str, options)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="images_background_small1.zip of Omniglot")
    parser.add_argument("--work_dir", type=pathlib.Path, default=pathlib.Path("runs/reidentification"),
                        help="images, stores and runs (default: %(default)s)")
    parser.add_argument("--held_out", type=int, default=20, help="characters that are new (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="draws them, and trains (default: 1)")
    o, others = parser.parse_known_args()
    folder = o.work_dir / f"held_out{o.held_out}_seed{o.seed}"
    prepare(o.data_dir, folder, o.held_out, o.seed)
    lines = []
    for name in ("new", "all", "known"):
        store, run = folder / f"{name}_store", folder / f"{name}_run"
        call("create_tfrecords.py", "--format=csv", f"--data_dir={folder}", f"--csv={folder / name}.csv",
             f"--out_dir={store}", "--size=64", "--channels=1", "--encoding=png",
             "--val_split=drawers=16,17,18,19,20")
        if name == "new":
            continue
        common = ["@recipes/omniglot/classify.args", f"--data_tfrec_dir={store}", f"--run_dir={run}",
                  f"--seed={o.seed}", *others]
        call("run.py", *common, "--job=train,val")
        call("run.py", *common, "--job=reidentify",
             *([f"--new_tfrec_dir={folder / 'new_store'}"] if name == "known" else []))
        _, classes, logits, labels = read_predictions(next((run / "predictions").glob("*_val.npz")), job="val")
        found = json.loads((run / "embeddings" / "gallery.json").read_text(encoding="utf-8"))
        lines.append(f"{len(classes)} characters, {len(labels)} drawings asked about: MAP@5 "
                     f"{map_at_k(labels, top_k(logits, 5)):.4f} by classes, {found['map_at_5']:.4f} by neighbours; "
                     f"accuracy {(logits.argmax(1) == labels).mean():.4f}, {found['accuracy']:.4f}")
        if "auroc" in found:
            lines.append(f"{o.held_out} new characters: AUROC {found['auroc']:.4f}; at a similarity of "
                         f"{found['threshold']:.4f} {found['known_kept']:.3f} of the known kept, "
                         f"{found['new_found']:.3f} of the new found")
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
