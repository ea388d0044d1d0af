"""The residual network in Flax NNX."""

import jax
from flax import nnx

from ..layers.nnx import BatchNorm, max_pool
from . import VARIANTS, ResNetConfig

he_normal_fan_out = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
zeros = nnx.initializers.zeros_init()


class ResNet(nnx.Module):
    """float [batch, height, width, channel] of `shape` -> float [batch, outputs]. Takes other heights and widths, too.

    Initialised after Goyal et al. (2017): convolutions after He et al. (2015), from the fan-out; the last scale of each
    block 0, so that it begins as the identity; the last layer's kernel from a normal distribution of deviation 0.01.
    """

    def __init__(self, config: ResNetConfig, shape: tuple[int, int, int], outputs: int, *, rngs: nnx.Rngs, **dtypes):
        blocks, channels, bottleneck = VARIANTS[config.name]
        block = Bottleneck if bottleneck else BasicBlock
        options = {"rngs": rngs, **dtypes}
        self.stem = config.stem
        if self.stem == "imagenet":
            self.conv1 = convolution(shape[-1], channels, 7, stride=2, **options)
        else:
            self.conv1 = convolution(shape[-1], channels, 3, **options)
        self.bn1 = BatchNorm(channels, **options)
        self.layer1 = stage(block, channels, channels, blocks[0], **options)
        self.layer2 = stage(block, block.expansion * channels, 2 * channels, blocks[1], stride=2, **options)
        self.layer3 = stage(block, block.expansion * 2 * channels, 4 * channels, blocks[2], stride=2, **options)
        self.layer4 = stage(block, block.expansion * 4 * channels, 8 * channels, blocks[3], stride=2, **options)
        normal = nnx.initializers.normal(0.01)
        self.fc = nnx.Linear(block.expansion * 8 * channels, outputs, kernel_init=normal, **options)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, 1)
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
        return self.fc(x.mean((1, 2)))


class BasicBlock(nnx.Module):
    """float [batch, height, width, inputs] -> float [batch, height / stride, width / stride, channels]."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, **options):
        self.conv1 = convolution(inputs, channels, 3, stride, **options)
        self.bn1 = BatchNorm(channels, **options)
        self.conv2 = convolution(channels, channels, 3, **options)
        self.bn2 = BatchNorm(channels, scale_init=zeros, **options)
        self.downsample = projection(inputs, channels, stride, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(x + y)


class Bottleneck(nnx.Module):
    """float [batch, height, width, inputs] -> float [batch, height / stride, width / stride, 4 * channels]."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, **options):
        self.conv1 = convolution(inputs, channels, 1, **options)
        self.bn1 = BatchNorm(channels, **options)
        self.conv2 = convolution(channels, channels, 3, stride, **options)
        self.bn2 = BatchNorm(channels, **options)
        self.conv3 = convolution(channels, self.expansion * channels, 1, **options)
        self.bn3 = BatchNorm(self.expansion * channels, scale_init=zeros, **options)
        self.downsample = projection(inputs, self.expansion * channels, stride, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = nnx.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(x + y)


def stage(
    block: type[BasicBlock | Bottleneck], inputs: int, channels: int, count: int, stride: int = 1, **options
) -> nnx.List:
    first = block(inputs, channels, stride, **options)
    return nnx.List([first, *(block(block.expansion * channels, channels, 1, **options) for _ in range(count - 1))])


def projection(inputs: int, outputs: int, stride: int, **options) -> nnx.List:
    """What brings a block's input into the shape of its output: nothing where it has that already."""
    if stride == 1 and inputs == outputs:
        return nnx.List([])
    return nnx.List([convolution(inputs, outputs, 1, stride, **options), BatchNorm(outputs, **options)])


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, **options) -> nnx.Conv:
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=he_normal_fan_out,
        **options,
    )
