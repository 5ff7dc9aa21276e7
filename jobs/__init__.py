"""One file per job of run.py: wiring only."""
