"""Small residual GAN with spectral normalization of its discriminator (Miyato et al. 2018)."""

from dataclasses import dataclass

from ...engine.api import PositiveInt, option
from ..dcgan import GanConfig

# Of the power iteration: so many at first, and one more each time that it is trained on.
ITERATIONS = 15
EPSILON = 1e-12


@dataclass(frozen=True)
class ResnetGanConfig(GanConfig):
    width: PositiveInt = option(64, "channels of every block")
