"""Kills a training at random moments, some inside the writing of a checkpoint, and goes on each time:
the end must be, bit for bit, that of the training never killed.

    python -m tests.kill_and_resume --kills=20 @recipes/demo/classify.args \
      --data_tfrec_dir=data/demo/pack/train --n_epochs=3 --checkpoint_every_steps=25 --ema=0.99

Options that it does not know go to run.py. It ends with 0 if all is equal.
"""
import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np


def start(options, run_dir, log):
    return subprocess.Popen([sys.executable, "run.py", *options, f"--run_dir={run_dir}", "--job=train"],
                            stdout=log, stderr=subprocess.STDOUT)


def finished(process, log):
    if process.wait():
        sys.exit(f"run.py failed:\n{pathlib.Path(log.name).read_text()[-3000:]}")


def killed(process, run_dir, moment, inside_write):
    """Kills the process after `moment` seconds, or, inside_write, while a checkpoint is written after
    that. Returns whether it still ran."""
    end = time.monotonic() + moment
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    if inside_write:
        half = run_dir / "checkpoints" / ".new.npz"
        half.unlink(missing_ok=True)  # of an earlier kill
        while process.poll() is None and not half.exists():
            time.sleep(0.0005)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def difference(one, two):
    """The first difference between two finished run folders, in words; None."""
    for name in ("best.h5", "last.h5"):
        arrays = [_arrays(folder / "checkpoints" / name) for folder in (one, two)]
        if list(arrays[0]) != list(arrays[1]):
            return f"{name} holds other tensors"
        for key in arrays[0]:
            if arrays[0][key].tobytes() != arrays[1][key].tobytes():
                return f"{name}: {key} differs"
    for name in ("log.csv", "checkpoints/best.json", "checkpoints/last.json"):
        if (one / name).read_bytes() != (two / name).read_bytes():
            return f"{name} differs"
    return None


def _arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({_plain(name): np.array(node)})
                        if isinstance(node, h5py.Dataset) else None)
    return found


def _plain(name):
    return "/".join(name.split("/")[1:])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often (default: %(default)s)")
    parser.add_argument("--inside_write", type=float, default=0.3,
                        help="share of the kills inside a checkpoint's writing (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    o, options = parser.parse_known_args(argv)
    chance = random.Random(o.seed)
    with tempfile.TemporaryDirectory() as folder, open(pathlib.Path(folder, "log"), "w") as log:
        folder = pathlib.Path(folder)
        whole, cut = folder / "whole", folder / "cut"
        began = time.monotonic()
        finished(start(options, whole, log), log)
        seconds = time.monotonic() - began
        print(f"never killed: {seconds:.0f} s", flush=True)
        kills = inside = runs = 0
        while kills < o.kills:
            inside_write = chance.random() < o.inside_write
            process = start(options, cut, log)
            if killed(process, cut, chance.uniform(0, seconds / 2), inside_write):
                kills, inside = kills + 1, inside + inside_write
                steps = sorted(path.name for path in (cut / "checkpoints").glob("step-*.npz"))
                print(f"kill {kills}{' inside a write' if inside_write else ''}: newest checkpoint "
                      f"{steps[-1] if steps else 'none'}", flush=True)
                if kills < o.kills:
                    continue
                process = start(options, cut, log)
            finished(process, log)
            runs += 1
            odd = difference(whole, cut)
            if odd:
                sys.exit(f"after {kills} kills: {odd}")
            print(f"run {runs} ended as the one never killed", flush=True)
            shutil.rmtree(cut)
    print(f"{kills} kills, {inside} of them inside a checkpoint's writing, over {runs} runs: weights, log "
          "and best score bit-identical")


if __name__ == "__main__":
    main()
