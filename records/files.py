"""Writing files so that a kill leaves the old one or the new one, never half of one."""
import contextlib
import hashlib
import json
import os
import pathlib


@contextlib.contextmanager
def replaced(path):
    """Yields a path beside `path` to write to; renamed onto it when the block ends well."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path, text):
    write_parts(path, [text])


def write_parts(path, texts):
    """Writes texts one after another."""
    with replaced(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.writelines(texts)


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(path):
    digest = hashlib.sha256()  # hashlib.file_digest is not in Python 3.10
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
