import keras2  # noqa: F401  before anything imports TensorFlow
import os
import pathlib

import pytest

# The files that take longest, longest first, so that processes side by side (-n 2) end together.
LONGEST = ["test_scripts", "test_replicas", "test_detection_jobs", "test_resume", "test_multilabel_jobs",
           "test_identity_jobs", "test_centernet_step", "test_workers", "test_jobs", "test_backbones",
           "test_device_augmentation", "test_own_networks", "test_training", "test_centernet_network",
           "test_input_benchmark", "test_page_batches", "test_grad_cam", "test_stacking_cnn", "test_second_level"]


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def test_data():
    """The folder of real data (README, section "Tests"); the test is skipped where it is absent."""
    root = pathlib.Path(os.environ.get("FUDE_TEST_DATA", "../shared/data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root} (set FUDE_TEST_DATA)")
    return root
