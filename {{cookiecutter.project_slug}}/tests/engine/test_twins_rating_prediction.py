"""Both halves of rating prediction give the same ratings."""

import numpy as np
import torch
from helpers import load_data
from parity import HALVES, assert_agree, config, float64_in_jax, make_twins, numpy

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.twins import bridge

TASK = "rating_prediction"
FEW = ("--data.users=100", "--data.items=80", "--data.ratings=2000", "--data.batch_size=128")


@float64_in_jax()
def test_ratings_of_every_item_are_the_same():
    settings = config(TASK, "nnx", *FEW)
    spec = load_data(settings).spec
    net, model = make_twins(settings, spec)
    bridge.to_nnx(net, model)
    user, (a, b) = np.arange(7, dtype=np.int32), (tasks.twin(tasks.find(TASK), name).predict_step for name in HALVES)
    with torch.no_grad():
        ours = numpy(a(net, {"user": torch.from_numpy(user)}))
    assert ours["rating"].shape == (7, spec["items"])
    assert_agree(ours, {name: np.asarray(value) for name, value in b(model, {"user": user}).items()})
