#!/usr/bin/env python3
"""The one entry: parse the options, then run the jobs named by --job (see run.py --help)."""
import importlib
import os
import sys

from jobs.options import parse


def job_module(task, job):
    """The file of a job: pages and lines of text have ways of their own to train and validate."""
    if job in ("preview", "train", "val") and task == "detect":
        return f"jobs.detector_{job}"
    return f"jobs.text_{job}" if job in ("preview", "train", "val", "test") and task == "text" else f"jobs.{job}"


def main(argv=None):
    options = parse(argv)
    if options.task in ("classify", "text") or "train" in options.job:
        # On CPUs without AVX-512 TensorFlow leaves oneDNN out by itself. With it a training step takes half
        # the time; convolutions of whole pages take several times as long.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras2
    keras2.import_tensorflow_quietly()
    from jobs.errors import user_errors
    with user_errors("run.py"):
        if options.n_folds:
            importlib.import_module("jobs.folds").run(options, sys.argv[1:] if argv is None else argv)
            return
        session = importlib.import_module("jobs.session").Session(options)
        for job in options.job:
            importlib.import_module(job_module(options.task, job)).run(session)


if __name__ == "__main__":
    sys.exit(main())
