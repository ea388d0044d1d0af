"""The formats that JAX writes models in. Imports nothing of it."""

FORMATS = {
    # format: (file, packages that writing takes beside, how it is loaded); see `export.Format`
    "stablehlo": (
        "model.stablehlo",
        ("flatbuffers",),
        """
from pathlib import Path

import numpy as np
from jax import export  # which needs flatbuffers, too

model = export.deserialize(bytearray(Path("FILE").read_bytes()))
batch = BATCH
outputs = model.call(batch)
""",
    ),
}
