"""PyTorch's processes, one for each device: started here, or by torchrun, SLURM or Kubernetes, as Lightning finds out.

Lightning's own launcher is not used: it kills this process without a word, in the midst of writing its state perhaps,
where another one has ended otherwise than with 0, which is also how a stopped run ends.
"""

import atexit
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import IO, Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ...config import AcceleratorConfig
from ...errors import InputError, RunError
from ...lightning.devices import quiet
from ..mesh import Mesh
from ..processes import Several

SILENCE = timedelta(seconds=45)  # of one that has to take part in a step: then the others end
PATIENCE = timedelta(days=1)  # while one does what the others need: fetches data, writes a checkpoint
GRACE = 30  # seconds that this process has to end by itself after another one has

# Hints to use `srun`, to reduce metrics, which torchmetrics does, and to name an option as torch 2.13 does.
warnings.filterwarnings("ignore", r"(?s).*(The `srun` command is available|, sync_dist=True\)`|`broadcast_buffers` is)")
# Of kernels with one input channel, whose two layouts are the same numbers in the same order.
warnings.filterwarnings("ignore", r"(?s)Grad strides do not match bucket view strides")
# It says, of every norm and checkpoint, that what is cut twice is put together in two turns.
logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)

joined: list["TorchProcesses"] = []  # one, once this process has met the others
started: list[tuple[subprocess.Popen, IO[bytes]]] = []  # with what they write to stderr


class TorchProcesses(Several):
    """Over the CPU, whatever the model is on: so a device never waits for what is said here."""

    def __init__(self, local_rank: int):
        self.rank, self.count, self.local_rank = dist.get_rank(), dist.get_world_size(), local_rank
        self._soon = dist.new_group(backend="gloo", timeout=SILENCE)
        self._late = dist.new_group(backend="gloo", timeout=PATIENCE)

    def share(self, value: Any) -> Any:
        text = torch.frombuffer(bytearray(json.dumps(value), "utf-8"), dtype=torch.uint8)
        size = torch.tensor(len(text))
        with together():
            dist.broadcast(size, 0, self._late)
            text = text if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(text, 0, self._late)
        return json.loads(text.numpy().tobytes())

    def largest(self, value: int) -> int:
        found = torch.tensor(value)
        with together():
            dist.all_reduce(found, dist.ReduceOp.MAX, self._soon)
        return int(found)

    def wait(self) -> None:
        with together():
            dist.barrier(self._late)


class Copies(DDPStrategy):
    """A copy of the model in each process."""

    def __init__(self, **options: Any):
        super().__init__(timeout=SILENCE, gradient_as_bucket_view=True, broadcast_buffers=False, **options)

    def barrier(self, name: str | None = None) -> None:
        """Without the limit: one process may write a large checkpoint while the others wait."""
        if joined:
            joined[0].wait()

    def setup(self, trainer: L.Trainer) -> None:
        super().setup(trainer)
        ask_nobody(trainer)


def ask_nobody(trainer: L.Trainer) -> None:
    """After every step Lightning would ask all devices for a signal, and wait; a session asks itself."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nobody  # type: ignore[method-assign]  # no flag does so


def _nobody() -> None:
    """A function that can be pickled, as a trainer can."""


def join(config: AcceleratorConfig, found: Sequence[torch.device]) -> TorchProcesses:
    """Starts the others where nobody else does, and waits for them. found: the devices of this node.

    Raises:
        InputError: where they do not come together as it is asked for.
    """
    count = len(found) * config.nodes
    Mesh.of(config, count)  # refused before anything is started
    if not joined:
        quiet()
        strategy = Copies()
        try:
            L.Trainer(
                accelerator=found[0].type,
                devices=len(found),
                num_nodes=config.nodes,
                strategy=strategy,
                plugins=[*environment()],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
            )
            assert strategy.cluster_environment is not None  # the Trainer has found it
            if not strategy.cluster_environment.creates_processes_externally:
                _start(len(found), config.nodes, strategy.cluster_environment)
            strategy.setup_environment()
        except (MisconfigurationException, RuntimeError, ValueError) as error:
            first = str(error).strip().partition("\n")[0]
            raise InputError(f"the {count} processes of the run do not come together: {first}") from error
        joined.append(TorchProcesses(strategy.local_rank))
    if joined[0].count != count:
        raise InputError(
            f"accelerator.devices = {len(found)} on accelerator.nodes = {config.nodes} are {count} processes, but "
            f"{joined[0].count} were started: start one for each device"
        )
    return joined[0]


def environment() -> list[ClusterEnvironment]:
    """What Lightning would not find out by itself: that it is not to write and requeue on signals of SLURM."""
    detected = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if detected else []


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raises RunError where another process has ended, or is silent."""
    try:
        yield
    except RuntimeError as error:
        if not joined or not ("gloo" in str(error) or isinstance(error, dist.DistError)):
            raise
        time.sleep(2)  # a process that has ended is not always known to have at once
        told = next((_last_words(i) for i, (child, _) in enumerate(started) if child.poll()), None)
        way_out = "the same command goes on from the last checkpoint"
        raise RunError(f"{told or 'another process of the run has ended or is silent'}: {way_out}") from error


def _start(devices: int, nodes: int, environment: ClusterEnvironment) -> None:
    """Starts this command once more for each of the node's other devices, with the variables that Lightning reads."""
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_RANK": "0",
    }
    spec = sys.modules["__main__"].__spec__
    command = [sys.executable, *(["-m", spec.name] if spec else [os.path.abspath(sys.argv[0])]), *sys.argv[1:]]
    for rank in range(1, devices):
        errors = tempfile.TemporaryFile()  # noqa: SIM115  read where such a process ends before this one
        variables = {**os.environ, "LOCAL_RANK": str(rank)}
        child = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=errors)
        started.append((child, errors))
    atexit.register(_end)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends this process, which may wait on a device for one that is no more."""
    while not any(child.poll() for child, _ in started):
        time.sleep(1)
    time.sleep(GRACE)
    told = next(_last_words(i) for i, (child, _) in enumerate(started) if child.poll())
    print(f"error: {told}", file=sys.stderr, flush=True)
    _kill()
    os._exit(1)


def _last_words(i: int) -> str:
    """Of a process that has ended; before the last line, the others go to stderr."""
    child, errors = started[i]
    errors.seek(0)
    *lines, last = errors.read().decode(errors="replace").strip().split("\n")
    print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr, flush=True)
    return f"process {i + 1} has ended with code {child.returncode}{': ' * bool(last)}{last.removeprefix('error: ')}"


def _end() -> None:
    """The others end at the same time; one that waits for this process never would."""
    end = time.monotonic() + GRACE / 6
    while any(child.poll() is None for child, _ in started) and time.monotonic() < end:
        time.sleep(0.1)
    _kill()


def _kill() -> None:
    for child, errors in started:
        child.kill()
        child.wait()
        errors.close()
