"""The recipe of real handwriting keeps its promise (slow: about a quarter of an hour)."""
import json
import time

import pytest

import create_tfrecords
import run


@pytest.mark.slow
def test_recipe_reaches_its_accuracy(test_data, tmp_path):
    archive = test_data / "omniglot_small" / "images_background_small1.zip"
    start = time.monotonic()
    create_tfrecords.main(["@recipes/omniglot/pack.args", f"--data_dir={archive}",
                           f"--out_dir={tmp_path / 'store'}"])
    run.main(["@recipes/omniglot/classify.args", f"--data_tfrec_dir={tmp_path / 'store'}",
              f"--run_dir={tmp_path / 'run'}", "--job=train,val"])
    seconds = time.monotonic() - start
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    print(f"accuracy {info['validation']['accuracy']:.4f} in {seconds / 60:.1f} minutes")
    assert info["validation"]["accuracy"] >= 0.88 and seconds < 15 * 60


def test_the_set_is_packed_as_published(test_data, tmp_path):
    archive = test_data / "omniglot_small" / "images_background_small1.zip"
    create_tfrecords.main(["@recipes/omniglot/pack.args", f"--data_dir={archive}",
                           f"--out_dir={tmp_path / 'store'}"])
    from records.store import open_store
    store = open_store(tmp_path / "store")
    sides = store.manifest.groupby(["label", "split_drawers"]).size()
    assert len(store.class_names) == 136 and set(sides[:, "train"]) == {15}
    assert set(sides[:, "val"]) == {5}
    assert "Balinese/character01" in store.class_names
