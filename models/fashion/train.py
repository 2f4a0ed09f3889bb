"""Train the Fashion-MNIST network and write every file of `pimc_models.fashion`.

Needs torch 2.13.0 (a development extra) and the four IDX files of the Debian package `dataset-fashion-mnist`::

    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb unpacked
    python models/fashion/train.py --data unpacked/usr/share/datasets/fashion-mnist

One thread and fixed seeds: the same machine and torch version give the same weights.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from pimc_models import fashion
from pimc_models.fashion import quantisation

TEST_IMAGES = 1000
CALIBRATION_IMAGES = 128
INT8_CALIBRATION_IMAGES = 512
BATCH = 256


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a gzipped IDX file of unsigned bytes (magic 0x0000_08_rank, then big-endian dimensions)."""
    data = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if (zero, kind) != (0, 8):
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers in a row; their keywords become the names in the exported graph."""
    return nn.Sequential(OrderedDict(layers))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A bias-free convolution with same padding; a batch normalisation follows it."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):  # type: ignore[misc, unused-ignore]  # untyped where torch is not installed
    """Two 3x3 convolutions around an identity skip (the basic block of ResNet)."""

    def __init__(self, channels: int) -> None:
        """Keep `channels` and the feature map's size."""
        super().__init__()
        self.body = named(
            conv1=conv(channels, channels, 3),
            bn1=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            conv2=conv(channels, channels, 3),
            bn2=nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map N x C x H x W to the same shape."""
        return functional.relu(x + self.body(x))


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 then pointwise convolution, each with ReLU6 (the block of MobileNet)."""
    return named(
        depthwise=conv(inputs, inputs, 3, stride, groups=inputs),
        bn1=nn.BatchNorm2d(inputs),
        relu1=nn.ReLU6(),
        pointwise=conv(inputs, outputs, 1),
        bn2=nn.BatchNorm2d(outputs),
        relu2=nn.ReLU6(),
    )


def network() -> nn.Sequential:
    """Return the untrained network: N x 1 x 28 x 28 in 0..1 to N x 10 logits; 101,322 parameters."""
    return named(
        stem=named(conv=conv(1, 16, 3), bn=nn.BatchNorm2d(16), relu=nn.ReLU(), pool=nn.MaxPool2d(2)),
        residual16=Residual(16),
        separable32=separable(16, 32, stride=2),
        residual32=Residual(32),
        separable64=separable(32, 64, stride=1),
        residual64=Residual(64),
        average=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(64, 10),
    )


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift the batch by up to one pixel each way and mirror each image with probability one half."""
    dy, dx = (int(v) for v in torch.randint(0, 3, (2,), generator=generator))
    shifted = functional.pad(images, (1, 1, 1, 1))[:, :, dy : dy + 28, dx : dx + 28]
    mirror = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirror, shifted.flip(3), shifted)


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Run SGD with Nesterov momentum on a one-cycle schedule; prints one line per epoch."""
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(images) // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, epochs * steps, pct_start=0.25)
    model.train()
    for epoch in range(epochs):
        start, total = time.monotonic(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for at in range(0, len(images), BATCH):
            index = order[at : at + BATCH]
            optimiser.zero_grad()
            logits = model(augmented(images[index], generator))
            loss = functional.cross_entropy(logits, labels[index], label_smoothing=0.05)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}, {time.monotonic() - start:.0f} s", flush=True)


def export(model: nn.Module, path: Path) -> None:
    """Write float32 ONNX: opset 17, IR version 9, batch dimension "N", batch normalisations kept as nodes."""
    model.eval()
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 28, 28),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    proto = constants_stored(onnx.load(path))
    proto.ir_version = 9
    proto.graph.name = "fashion"
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def constants_stored(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Turn Constant nodes (the bounds of ReLU6) into initialisers, in place."""
    for node in [node for node in proto.graph.node if node.op_type == "Constant"]:
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        proto.graph.node.remove(node)
    return proto


def save_images(path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    """Write N x 28 x 28 pixels and N labels, both u8, compressed."""
    np.savez_compressed(path, images=images, labels=labels)


def report(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    """Print onnxruntime's accuracy of the written files and of every quantisation."""
    x = fashion.preprocess(images)
    reference = fashion.logits(onnx.load(fashion.fp32_path()), x).argmax(1)
    models = {"fp32": onnx.load(fashion.fp32_path()), "int8 file": onnx.load(fashion.int8_path())}
    models |= {kind: fashion.quantise(kind) for kind in quantisation.KINDS}
    for name, model in models.items():
        top1 = fashion.logits(model, x).argmax(1)
        for count in (TEST_IMAGES, len(labels)):
            accuracy, agreement = (float((top1[:count] == other[:count]).mean()) for other in (labels, reference))
            print(f"{name}: {accuracy:.4f} of {count} images, agreement with fp32 {agreement:.4f}")


def main() -> None:
    """Train, export, quantise, save the committed images and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four IDX files")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-only", action="store_true", help="only measure the committed files")
    args = parser.parse_args()
    sets = {
        (part, kind): read_idx(args.data / f"{part}-{kind}-ubyte.gz")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    }
    images, labels = sets["train", "images-idx3"], sets["train", "labels-idx1"]
    test_images, test_labels = sets["t10k", "images-idx3"], sets["t10k", "labels-idx1"]
    if not args.report_only:
        torch.set_num_threads(1)
        torch.manual_seed(args.seed)
        torch.use_deterministic_algorithms(True)
        model = network()
        x = torch.from_numpy(fashion.preprocess(images))
        train(model, x, torch.from_numpy(labels.astype(np.int64)), args.epochs, args.seed)
        save_images(fashion.DATA / "test_1000.npz", test_images[:TEST_IMAGES], test_labels[:TEST_IMAGES])
        save_images(fashion.DATA / "calibration_128.npz", images[:CALIBRATION_IMAGES], labels[:CALIBRATION_IMAGES])
        export(model, fashion.fp32_path())
        calibration = fashion.preprocess(images[:INT8_CALIBRATION_IMAGES])
        onnx.save(fashion.quantise("qoperator-u8s8-per-channel", calibration), fashion.int8_path())
    report(test_images, test_labels)


if __name__ == "__main__":
    main()
