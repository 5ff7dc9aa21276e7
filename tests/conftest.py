import keras2  # noqa: F401  before anything imports TensorFlow
import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def test_data():
    """The folder of real data (README, section "Tests"); the test is skipped where it is absent."""
    root = pathlib.Path(os.environ.get("FUDE_TEST_DATA", "../shared/data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root} (set FUDE_TEST_DATA)")
    return root
