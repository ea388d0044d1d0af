"""A model as a file that needs nothing of the project."""

import logging
from pathlib import Path

import torch
from torch import nn

from .module import Batch, TaskModule


class Inference(nn.Module):
    """A batch of any size -> outputs, as a task predicts."""

    def __init__(self, module: TaskModule):
        super().__init__()
        self.net, self.predict_step = module.net, module.predict_step

    def forward(self, batch: Batch) -> Batch:
        # ONNX finds rows of tables by int64 only.
        batch = {name: x.long() if x.dtype == torch.int32 else x for name, x in batch.items()}
        return self.predict_step(batch, 0)


def write(format: str, module: TaskModule, batch: Batch, path: Path) -> None:
    """batch: two examples at least, as of one the program would be for one."""
    model = Inference(module).eval().requires_grad_(False)
    size = torch.export.Dim("batch")
    program = torch.export.export(model, (batch,), dynamic_shapes=({name: {0: size} for name in batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the folders of this machine
    if format == "torch-export":
        torch.export.save(program, path)
        return
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what they optimize, and that there is no torchvision
    torch.onnx.export(
        program,
        f=path,
        input_names=[*batch],
        output_names=[*model(batch)],
        # The name of the axis, once: it is the same of all.
        dynamic_shapes=({name: {} if i else {0: "batch"} for i, name in enumerate(batch)},),
        external_data=False,  # beside the model stands only what is too large for one file
        verbose=False,
    )
