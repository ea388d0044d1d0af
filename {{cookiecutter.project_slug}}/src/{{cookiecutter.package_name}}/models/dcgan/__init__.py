"""Deep convolutional GAN (Radford, Metz and Chintala 2016), sized to the image.

Its generator may begin with a hidden layer, and its discriminator end with one, as those of InfoGAN for MNIST do (Chen
et al. 2016): what is made of noise can then change fast, so that fewer images are between two classes, and what stands
in several places of an image is judged together.
"""

from dataclasses import dataclass
from typing import Literal

from ...engine.api import InputError, ModelConfig, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, option

# Radford et al. 2016: kernels from N(0, 0.02), scales of batch normalization from N(1, 0.02), slopes of 0.2.
DEVIATION = 0.02
SLOPE = 0.2


@dataclass(frozen=True)
class GanConfig(ModelConfig):
    """What every GAN here has."""

    latent: PositiveInt = option(64, "numbers of noise that an image is made of")
    width: PositiveInt = option(32, "channels of the feature maps next to the image; each halving of the sides doubles")
    loss: Literal["non_saturating", "hinge"] = option(
        "non_saturating", "non_saturating (Goodfellow et al. 2014) or hinge (Lim and Ye 2017)"
    )
    discriminator_rate: PositiveFloat = option(
        1.0, "learning rate of the discriminator, as a share of optimizer.learning_rate (Heusel et al. 2017)"
    )
    r1: NonNegativeFloat = option(
        0.0,
        "weight of the penalty on the discriminator's gradient at real images (Mescheder et al. 2018); 0: none",
        overfit=0.0,
    )


@dataclass(frozen=True)
class DcganConfig(GanConfig):
    hidden: NonNegativeInt = option(256, "units of a layer of the generator before its feature maps; 0: none")
    discriminator_hidden: NonNegativeInt = option(
        0, "units of a layer of the discriminator after its feature maps; 0: none"
    )
    norm: Literal["batch", "none"] = option(
        "batch", "of the discriminator: batch, or none, as model.r1 needs it; the generator has batch normalization"
    )


def pyramid(shape: tuple[int, ...]) -> tuple[int, int]:
    """(the side of the smallest feature map, how often it is doubled to that of the image): 4 to 7, or less where that
    is doubled only once.

    Raises InputError where an image has no such sides.
    """
    height, width, _ = shape
    side, halvings = height, 0
    while side % 2 == 0 and (side > 7 or halvings < 2):
        side, halvings = side // 2, halvings + 1
    if height != width or not (2 <= side <= 7 and halvings):
        raise InputError(
            f"images of {width} x {height} pixels: a GAN makes square ones whose side can be halved until it is 2 to "
            "7, as 8, 28, 32, 64"
        )
    return side, halvings
