"""The folder of a rendered set: whole or not there at all, never another's, and not made twice."""
import contextlib
import csv
import json
import multiprocessing
import os
import pathlib
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from arguments import number

MARKER = "demo.json"


def add_run_options(parser, out_dir, what):
    """Adds to a Parser what every set is made with: --out_dir, --workers, --overwrite."""
    run = parser.add_argument_group("how to run")
    run.add_argument("--out_dir", type=pathlib.Path, default=pathlib.Path(out_dir), help="folder to make")
    run.add_argument("--workers", type=number(int, 1), default=os.cpu_count(), help="processes")
    run.add_argument("--overwrite", action="store_true", help=f"replace {what} rendered with other options")


def make_set(what, options, identity, is_whole, render, check=lambda: None):
    """Makes the set of demo_WHAT in options.out_dir unless it is there, and says so; ends the program where it
    cannot.

    identity: a function giving what is_made wants. is_whole: of a folder. check: called before anything is rendered;
    like all others it may raise ValueError. render: of the folder to render into; returns what it made, in words.
    """
    folder = options.out_dir
    try:
        identity = identity()
        if is_made(folder, identity, options.overwrite, f"demo {what}", is_whole):
            print(f"{folder} already holds these demo {what} (format {identity['format']}); nothing to do")
            return
        check()
        start = time.monotonic()
        with made_beside(folder, identity) as partial:
            made = render(partial)
    except ValueError as error:
        sys.exit(f"demo_{what}: {error}")
    print(f"{made} in {time.monotonic() - start:.1f} s: {folder}")


def is_made(folder, identity, overwrite, what, is_whole):
    """True if the folder holds this very set; an error if it holds anything else that may not go.

    identity: {"format": int, "options": {name: value}, perhaps "set": str}, all that decides what is
    rendered. what: of the set, for messages. is_whole: a function of the folder. Raises ValueError.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / MARKER
    made = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
    if made is None or made.get("set") != identity.get("set"):
        raise ValueError(f"{folder} holds something that is not a set of {what} "
                         f"({f'no {MARKER}' if made is None else f'see its {MARKER}'}); choose another --out_dir")
    if made == identity and is_whole(folder):
        return True
    if overwrite:
        return False
    if made == identity:
        raise ValueError(f"{folder} has lost some of its files; give --overwrite to render them again")
    old, new = made.get("options", {}), identity["options"]
    differing = [f"--{name} {old.get(name)} (asked for: {new.get(name)})"
                 for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if made.get("format") != identity["format"]:
        differing += [f"format {made.get('format')} (now: {identity['format']})"]
    raise ValueError(f"{folder} was made with {', '.join(differing)}; give --overwrite to replace it, "
                     "or another --out_dir")


def identity_of(name, number, options):
    """The identity of a set: its name, the number of its format, and all options but those of `how to run`."""
    return {"set": name, "format": number, "options": {
        option: value for option, value in vars(options).items()
        if option not in ("out_dir", "workers", "overwrite")}}


@contextlib.contextmanager
def made_beside(folder, identity):
    """Yields FOLDER.partial to render into; it takes the folder's place when the block ends well."""
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        print(f"removing {partial}, left by a run that did not finish")
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    (partial / MARKER).write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def rendered(function, jobs, workers):
    """Yields what the function returns for each job, in their order."""
    if min(workers, len(jobs)) <= 1:  # a process of its own would take longer to start than a small set to render
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, jobs)


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
