"""The peer of benchmarks.training_step: the same ResNets in PyTorch, layer for layer.

resnet34 as image-classifiers has it, normalised before each convolution (He et al.,
https://arxiv.org/abs/1603.05027); resnet50 as keras.applications has it
(https://arxiv.org/abs/1512.03385), with biases, and strides in the first 1x1 convolutions.
"""
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.training_step import MAPS, MATRIX

STAGES = (3, 4, 6, 3)  # blocks
WIDTH = 64  # of the first


class PreActivationBlock(nn.Module):
    def __init__(self, channels, width, stride, first):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if first else None

    def forward(self, x):
        y = F.relu(self.norm1(x))
        shortcut = self.shortcut(y) if self.shortcut else x
        return self.conv2(F.relu(self.norm2(self.conv1(y)))) + shortcut


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, first):
        super().__init__()
        conv_norm = lambda *conv: nn.Sequential(nn.Conv2d(*conv), nn.BatchNorm2d(conv[1]))
        self.branch = nn.Sequential(
            conv_norm(channels, width, 1, stride), nn.ReLU(), conv_norm(width, width, 3, 1, 1),
            nn.ReLU(), conv_norm(width, 4 * width, 1))
        self.shortcut = conv_norm(channels, 4 * width, 1, stride) if first else nn.Identity()

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))


def resnet(name, n_classes):
    """nn.Module of "resnet34" or "resnet50": images float [n, 3, h, w] -> logits [n, n_classes]."""
    before = name == "resnet34"
    block, expansion = (PreActivationBlock, 1) if before else (Bottleneck, 4)
    stem = [nn.Conv2d(3, WIDTH, 7, 2, 3, bias=not before), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1)]
    if before:
        stem = [nn.BatchNorm2d(3), *stem]
        stem[0].weight.requires_grad_(False)  # it only shifts
    blocks, channels = [], WIDTH
    for stage, n_blocks in enumerate(STAGES):
        width = WIDTH * 2 ** stage
        for number in range(n_blocks):
            stride = 2 if stage and not number else 1
            blocks.append(block(channels, width, stride, number == 0))
            channels = expansion * width
    last = [nn.BatchNorm2d(channels), nn.ReLU()] if before else []
    return nn.Sequential(*stem, *blocks, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(channels, n_classes))


def count_params(network):
    """Those learned, and the means and variances of normalisation, as Keras counts."""
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return learned + sum(b.numel() for name, b in network.named_buffers() if "running" in name)


def make(name, size, batch_size, n_classes, dtype, threads):
    """([count of parameters], {"step", "matmul", "conv": a function that does it once}) on the CPU.

    The step: softmax cross-entropy, SGD with momentum 0.9 and weight decay on all; channels last,
    which is faster here. dtype: float32, or bfloat16 for automatic mixed precision.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    last = torch.channels_last
    network = resnet(name, n_classes).to(memory_format=last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(batch_size, 3, size, size).to(memory_format=last)
    labels = torch.randint(n_classes, [batch_size])

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    matrix = torch.randn(MATRIX, MATRIX, dtype=getattr(torch, dtype))
    n, side, channels = MAPS
    maps = torch.randn(n, channels, side, side, dtype=matrix.dtype).to(memory_format=last)
    kernel = torch.randn(channels, channels, 3, 3, dtype=matrix.dtype).to(memory_format=last)
    return [count_params(network)], {"step": step, "matmul": lambda: matrix @ matrix,
                                     "conv": lambda: F.conv2d(maps, kernel, padding=1)}
