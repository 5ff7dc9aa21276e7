"""The loaders that ours is compared with, and what all of them are given to do.

Every peer is a function (photos, task, workers) -> an endless iterator of (float32 images of a
batch, normalised; targets) in the host's memory. Each does the task as well as its library can; its
docstring says what it leaves out, which is less work for it. All decode JPEG anew every epoch.
"""
import dataclasses
import importlib
import importlib.util
import math

import numpy as np

MEAN, STD = 0.5, 0.25  # of every channel, of values in 0..1
RRC_SCALE, RRC_RATIO = (0.85, 0.9), (0.875, 1.143)
ERASE_P, ERASE_AREA, ERASE_RATIO = 0.5, (0.02, 0.4), (0.3, 3.33)


@dataclasses.dataclass(frozen=True)
class Task:
    """A recipe's input. record, size: side of the stored and of the network's image, px. rotate:
    degrees. jitter: of brightness, contrast and, in colour, saturation. hue: turns. gray:
    probability. pca: lighting noise. icap, mixup: Beta's concentration, of which ICAP with p 0.5."""
    record: int
    size: int
    channels: int
    batch_size: int
    rotate: float
    jitter: float
    hue: float = 0.0
    gray: float = 0.0
    pca: float = 0.0
    icap: float = 0.0
    mixup: float = 0.0


@dataclasses.dataclass
class Photos:
    """The same records in every form. store: the packed store. jpegs: their images' bytes, in
    memory. folder: those as files CLASS/NUMBER.jpg, paths: of these. labels: int [n]."""
    store: object
    jpegs: list
    folder: str
    paths: list
    labels: np.ndarray
    n_classes: int


# name -> (file of this folder, function, package that it needs)
PEERS = {
    "PyTorch DataLoader, torchvision": ("peer_torch", "torchvision_loader", "torchvision"),
    "timm create_loader": ("peer_torch", "timm_loader", "timm"),
    "tf.image, image by image": ("peer_tensorflow", "tf_image", "tensorflow"),
    "kecam init_dataset": ("peer_tensorflow", "kecam", "keras_cv_attention_models"),
    "albumentations + OpenCV, DataLoader": ("peer_torch", "albumentations_loader",
                                            "albumentations"),
    "OpenCV in threads": ("peer_opencv", "opencv", "cv2"),
}


def find_peers(names):
    """({name: function} of those installed, [why not] of the others)."""
    found, missing = {}, []
    for name in names:
        module, function, package = PEERS[name]
        needed = {package, "torch"} if module == "peer_torch" else {package}
        absent = [p for p in sorted(needed) if importlib.util.find_spec(p) is None]
        if absent:
            missing.append(f"{name}: {' and '.join(absent)} not installed "
                           "(pip install -r requirements-benchmarks.txt)")
        else:
            found[name] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return found, missing


def draw_crop(random, n):
    """Random resized crops as torchvision draws them: float [n, 4], x y w h in shares of the side."""
    area = random.uniform(*RRC_SCALE, n)
    aspect = np.exp(random.uniform(*map(math.log, RRC_RATIO), n))
    sides = np.minimum(np.sqrt([area * aspect, area / aspect]).T, 1)
    return np.concatenate([random.uniform(size=(n, 2)) * (1 - sides), sides], axis=1)


def draw_erased(random, n):
    """Rectangles to erase, drawn alike; w = h = 0 for none."""
    area = random.uniform(*ERASE_AREA, n)
    ratio = np.exp(random.uniform(*map(math.log, ERASE_RATIO), n))
    sides = np.minimum(np.sqrt([area / ratio, area * ratio]).T, 1)
    sides *= (random.uniform(size=(n, 1)) < ERASE_P)
    return np.concatenate([random.uniform(size=(n, 2)) * (1 - sides), sides], axis=1)
