"""The formats that PyTorch writes models in. Imports nothing of it."""

FORMATS = {
    # format: (file, packages that writing takes beside, how it is loaded); see `export.Format`
    "onnx": (
        "model.onnx",
        ("onnx", "onnxscript"),
        """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("FILE")
batch = BATCH
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, batch)))
""",
    ),
    "torch-export": (
        "model.pt2",
        (),
        """
import numpy as np
import torch

model = torch.export.load("FILE").module()
batch = BATCH
outputs = model({name: torch.from_numpy(value) for name, value in batch.items()})
""",
    ),
}
