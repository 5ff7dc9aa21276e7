"""The loaders of PyTorch: worker processes that change image after image, then batches of these."""
import itertools
import multiprocessing

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.peers import (ERASE_AREA, ERASE_P, ERASE_RATIO, MEAN, RRC_RATIO, RRC_SCALE, STD)

# torchvision's own operators are absent where its build does not match that of torch. Only their
# names are needed here, so that it can be imported.
for name in ("nms", "qnms"):
    try:
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    except RuntimeError:  # there is one
        pass
# Workers must not inherit TensorFlow's threads: they are forked from a process that has only this.
torch.multiprocessing.set_start_method("forkserver", force=True)
multiprocessing.set_forkserver_preload([__name__])


def torchvision_loader(photos, task, workers):
    """RGB. Of the task it lacks the lighting noise and ICAP, in whose place is mixup."""
    from torchvision import datasets, transforms

    changes = transforms.Compose([
        transforms.RandomRotation(task.rotate, transforms.InterpolationMode.BILINEAR),
        transforms.RandomResizedCrop(task.size, RRC_SCALE, RRC_RATIO),
        transforms.RandomGrayscale(task.gray),
        transforms.ColorJitter(task.jitter, task.jitter, task.jitter, task.hue),
        transforms.ToTensor(),
        transforms.Normalize([MEAN] * 3, [STD] * 3),
        transforms.RandomErasing(ERASE_P, ERASE_AREA, ERASE_RATIO, value="random")])
    loader = _loader(datasets.ImageFolder(photos.folder, changes), task.batch_size, workers)
    return _mixup(loader, task.icap or task.mixup, photos.n_classes)


def timm_loader(photos, task, workers):
    """RGB. It lacks the lighting noise and ICAP, in whose place is CutMix; it erases a third at most.
    Rotation is torchvision's."""
    from timm.data import FastCollateMixup, ImageDataset, create_loader
    from torchvision import transforms

    dataset = ImageDataset(photos.folder)
    mixing = FastCollateMixup(mixup_alpha=task.mixup, cutmix_alpha=task.icap, prob=0.5,
                              label_smoothing=0, num_classes=photos.n_classes)
    loader = create_loader(
        dataset, (3, task.size, task.size), task.batch_size, is_training=True, scale=RRC_SCALE,
        ratio=RRC_RATIO, hflip=0, color_jitter=(task.jitter,) * 3 + (task.hue,),
        grayscale_prob=task.gray, interpolation="bilinear", re_prob=ERASE_P, re_mode="pixel",
        mean=(MEAN,) * 3, std=(STD,) * 3, num_workers=workers, collate_fn=mixing,
        device=torch.device("cpu"), use_multi_epochs_loader=True)
    dataset.transform.transforms.insert(0, transforms.RandomRotation(
        task.rotate, transforms.InterpolationMode.BILINEAR))
    return itertools.chain.from_iterable(itertools.repeat(loader))


class _Files(Dataset):
    """Images read by OpenCV and changed by albumentations."""
    def __init__(self, paths, labels, channels, changes):
        self.paths, self.labels, self.changes = paths, labels, changes
        self.flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = cv2.imread(self.paths[index], self.flags)
        image = image.reshape(*image.shape[:2], -1)
        return self.changes(image=image)["image"], int(self.labels[index])


def albumentations_loader(photos, task, workers):
    """It lacks ICAP, in whose place is mixup, and ImageNet's components: the lighting noise, which
    has it compute those of every image, is left out."""
    import albumentations

    colour = [albumentations.ToGray(p=task.gray), albumentations.ColorJitter(
        *[(1 - task.jitter, 1 + task.jitter)] * 3, (-task.hue, task.hue), p=1)]
    if task.channels == 1:
        colour = [albumentations.RandomBrightnessContrast(task.jitter, task.jitter, p=1)]
    changes = albumentations.Compose([
        albumentations.Rotate(task.rotate, border_mode=cv2.BORDER_REPLICATE, p=1),
        albumentations.RandomResizedCrop((task.size, task.size), RRC_SCALE, RRC_RATIO),
        *colour,
        albumentations.Normalize([MEAN] * task.channels, [STD] * task.channels),
        albumentations.Erasing(ERASE_AREA, ERASE_RATIO, fill="random", p=ERASE_P)])
    dataset = _Files(photos.paths, photos.labels, task.channels, changes)
    return _mixup(_loader(dataset, task.batch_size, workers), task.icap or task.mixup,
                  photos.n_classes)


def _loader(dataset, batch_size, workers):
    """Endless, so that no epoch starts anew while the clock runs."""
    return DataLoader(dataset, batch_size, num_workers=workers, drop_last=True,
                      worker_init_fn=_one_thread,
                      sampler=RandomSampler(dataset, num_samples=10**9 // len(dataset) * len(dataset)))


def _one_thread(worker):
    cv2.setNumThreads(1)


def _mixup(loader, concentration, n_classes):
    """mixup of batches, one share for all, as its authors' code has it."""
    random = np.random.default_rng(0)
    for images, labels in loader:
        share = random.beta(concentration, concentration)
        partner = torch.randperm(len(images))
        targets = torch.nn.functional.one_hot(labels, n_classes).float()
        yield (share * images + (1 - share) * images[partner],
               share * targets + (1 - share) * targets[partner])
