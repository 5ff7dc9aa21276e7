"""Vectors by id: what is written is read, what is wrong is named."""
import json

import numpy as np
import pandas as pd
import pytest

from records.features import FeatureError, read_features, write_features


def test_what_is_written_is_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3))
    ids = ["a", "b", "くずし", "0/../d", "e" * 40]
    path = tmp_path / "new" / "text.npz"
    write_features(path, ids, values, {"run": "x", "n": 1})
    read = read_features(path)
    assert read.ids.tolist() == ids and read.values.dtype == np.float32 and read.width == 3
    np.testing.assert_array_equal(read.values, values.astype(np.float32))
    assert read.made_by == {"run": "x", "n": 1}
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["features", "ids", "made_by"] and json.loads(str(file["made_by"]))["n"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["text.npz"]


def test_sha256_is_of_the_content(tmp_path):
    def sha(ids, values, made_by=1):
        write_features(tmp_path / "f.npz", ids, values, made_by)
        return read_features(tmp_path / "f.npz").sha256
    values = np.arange(6.0).reshape(2, 3)
    first = sha(["a", "b"], values)
    np.savez_compressed(tmp_path / "g.npz", ids=np.array(["a", "b"], "U9"), made_by=np.array("2"),
                        features=np.asfortranarray(values, np.float32))
    assert sha(["a", "b"], values, 2) == first == read_features(tmp_path / "g.npz").sha256
    others = {sha(["b", "a"], values), sha(["a", "b"], values + 1e-6), sha(["ab", ""], values),
              sha(["a", "b"], np.arange(2.0)[:, None])}
    assert len(others | {first}) == 5


@pytest.mark.parametrize("ids, values, says", [
    (["a", "b", "a"], np.zeros((3, 2)), "id 'a' occurs twice"),
    (["a", "b"], [[0, 1], [0, np.nan]], "vector of 'b' is not finite"),
    (["a", "b"], [[np.inf], [0]], "vector of 'a' is not finite"),
    (["a", "b"], np.zeros((3, 2)), r"float32 \[2, d\], d at least 1, one for each id, not float32 \[3, 2\]"),
    (["a", "b"], np.zeros(2), r"not float32 \[2\]"), (["a"], np.zeros((1, 0)), "d at least 1"),
    (["a"], [[1e39]], "not finite")])
def test_wrong_vectors_are_refused_when_written_and_when_read(tmp_path, ids, values, says):
    path = tmp_path / "f.npz"
    with np.errstate(over="ignore"):
        values = np.asarray(values, np.float32)
    with pytest.raises(FeatureError, match=says):
        write_features(path, ids, values, {})
    assert not list(tmp_path.iterdir())
    np.savez(path, ids=np.array(ids), features=values, made_by=np.array("{}"))
    with pytest.raises(FeatureError, match=says) as error:
        read_features(path)
    assert str(path) in str(error.value) and "make it again" in str(error.value)


def test_damage_is_named(tmp_path):
    path = tmp_path / "f.npz"
    with pytest.raises(FeatureError, match="no vectors at .*f.npz"):
        read_features(path)
    good = dict(ids=np.array(["a"]), features=np.zeros((1, 2), np.float32), made_by=np.array("{}"))
    for wrong, says in ((dict(made_by=np.array("no JSON")), "cannot be read"),
                        (dict(ids=np.array(["a"], object)), "cannot be read"),  # pickled
                        (dict(ids=np.array([1])), "ids must be text"),
                        (dict(features=np.zeros((1, 2))), "not float64"), (dict(features=None), "cannot be read")):
        np.savez(path, **good | wrong, allow_pickle=True)
        with pytest.raises(FeatureError, match=says):
            read_features(path)
    np.savez(path, **good)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(path)


def test_vectors_are_found_by_record_image_or_group(tmp_path):
    manifest = pd.DataFrame({"id": ["7_0", "7_1", "5_0"], "image_id": ["7_0", "7_1", "5_0"], "group": ["7", "7", "5"]})
    boxes = manifest.assign(id=["7_0:1", "7_0:2", "5_0:1"], image_id=["7_0", "7_0", "5_0"])

    def rows(ids, manifest=manifest):
        write_features(tmp_path / "f.npz", ids, np.zeros((len(ids), 2)), {})
        return read_features(tmp_path / "f.npz").of(manifest).tolist()
    assert rows(["5_0", "x", "7_1", "7_0"]) == [3, 2, 0]
    assert rows(["5", "7"]) == [1, 1, 0]
    assert rows(["5_0", "7_0"], boxes) == [1, 1, 0]
    assert rows(["7_0:2", "7_0:1", "5_0:1"], boxes) == [1, 0, 2]
    with pytest.raises(FeatureError, match=r"no vector for 1 of 3 records, the first is '7_1' \(id '7_1'\)"):
        rows(["7_0", "5_0"])
    with pytest.raises(FeatureError, match=r"for 1 of 3 records, the first is '5_0' \(group '5'\)"):
        rows(["7", "8"])
