"""How devices and processes share a batch."""

import numpy as np
import pytest
from conftest import FRAMEWORKS
from helpers import SMALL, TASK, load_data

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine.config import AcceleratorConfig, MeshConfig
from {{cookiecutter.package_name}}.engine.data.batches import Share, TrainBatches, eval_batches
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.processes import ALONE
from {{cookiecutter.package_name}}.engine.scale.mesh import Mesh
from {{cookiecutter.package_name}}.engine.scale.processes import Several


def mesh(devices, **sizes):
    return Mesh.of(AcceleratorConfig(mesh=MeshConfig(**sizes)), devices)


def refused(work, *args, **options):
    with pytest.raises(InputError) as error:
        work(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_left_open_is_what_the_others_leave():
    assert mesh(8) == Mesh(8, 1, 1)
    assert mesh(8, tensor=2) == Mesh(4, 1, 2)
    assert mesh(8, data=2, fsdp=0) == Mesh(2, 4, 1)
    assert mesh(8, data=2, fsdp=2, tensor=2) == Mesh(2, 2, 2)


def test_a_mesh_of_other_devices_than_there_are_is_told():
    assert "data 2 x fsdp 1 x tensor 2 needs 4 devices, but there are 8" in refused(mesh, 8, data=2, tensor=2)
    assert "needs a multiple of 3 devices, but there are 8" in refused(mesh, 8, tensor=3)
    assert "give the number of one of them" in refused(mesh, 8, data=0, fsdp=0)


def test_a_batch_that_cannot_be_cut_is_told():
    line = refused(Mesh(3).share, 64, 2, (0,))
    assert "data.batch_size = 64 is not divisible by trainer.accumulate = 2 x 3 parts on 3 devices" in line


def settings(*options):
    return registry.load_config(TASK, ["--framework", FRAMEWORKS[0], *SMALL, *options])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parts_together_are_the_batch_and_of_each_micro_batch_the_same_piece(accumulate):
    whole = Share(accumulate=accumulate).rows(24)
    assert whole.tolist() == list(range(24))
    parts = [Share(4, (i,), accumulate).rows(24).reshape(accumulate, -1) for i in range(4)]
    assert np.concatenate(parts, 1).ravel().tolist() == whole.tolist()
    assert Share(4, (2, 3), accumulate).rows(24).tolist() == [*parts[2].ravel(), *parts[3].ravel()]


def test_processes_together_read_what_one_reads():
    config = settings()
    data, size = load_data(config), config.data.batch_size
    one = TrainBatches(data, size, 0)
    two = [TrainBatches(data, size, 0, share=Share(2, (i,))) for i in range(2)]
    for step in (0, one.steps_per_epoch):
        for name, values in one[step].items():
            assert np.array_equal(np.concatenate([batches[step][name] for batches in two]), values), name


def test_processes_together_evaluate_every_example_once():
    data = load_data(settings()).test
    whole = list(eval_batches(data, 64))
    parts = [list(eval_batches(data, 64, share=Share(2, (i,)))) for i in range(2)]
    for batch, *pieces in zip(whole, *parts, strict=True):
        assert all(np.array_equal(np.concatenate([piece[name] for piece in pieces]), batch[name]) for name in batch)
    assert sum(batch["mask"].sum() for part in parts for batch in part) == len(data)


# Processes that agree, here in threads' place: each is asked in turn.


class Told(Several):
    """One of two processes, which hears what the leader has said."""

    count = 2

    def __init__(self, rank, said):
        self.rank, self.said = rank, said

    def share(self, value):
        if self.rank == 0:
            self.said.append(value)
        return self.said[-1]


def test_the_leader_decides_for_all():
    said = []
    assert Told(0, said).led(lambda: {"folder": "a"}) == {"folder": "a"}
    assert Told(1, said).led(lambda: 1 / 0) == {"folder": "a"}


def test_a_mistake_that_the_leader_finds_ends_all():
    def work():
        raise InputError("no such file")

    said = []
    assert refused(Told(0, said).led, work) == refused(Told(1, said).led, lambda: 1 / 0) == "no such file"


def test_the_leader_goes_first():
    said, order = [], []
    assert Told(0, said).in_turn(lambda: order.append(0) or "first") == "first"
    assert Told(1, said).in_turn(lambda: order.append(1) or "second") == "second"
    assert order == [0, 1] and ALONE.in_turn(lambda: "alone") == "alone"
