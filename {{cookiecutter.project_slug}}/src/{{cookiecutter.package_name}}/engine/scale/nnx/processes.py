"""JAX's processes: as SLURM, a TPU pod or JAX's own environment variables have started them."""

import json
import os
import socket
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ...errors import InputError
from ..processes import Several

START = 120  # seconds that all have to come
HEARTBEAT = 20  # seconds after which a silent one is taken for dead, and the others end


class JaxProcesses(Several):
    def __init__(self) -> None:
        self.rank, self.count = jax.process_index(), jax.process_count()

    def share(self, value: Any) -> Any:
        text = json.dumps(value).encode()
        text = text.ljust(self.largest(len(text)))  # of one size on all: blanks say nothing
        told = multihost_utils.broadcast_one_to_all(np.frombuffer(text, np.uint8))
        return json.loads(np.asarray(told).tobytes())

    def largest(self, value: int) -> int:
        return int(multihost_utils.process_allgather(np.int32(value)).max())

    def wait(self) -> None:
        multihost_utils.sync_global_devices("wait")


def join(platform: str) -> JaxProcesses:
    """Waits for the others.

    Raises:
        InputError: where they do not come, with what was set.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    count, rank = _number("JAX_NUM_PROCESSES"), _number("JAX_PROCESS_ID")
    if platform == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not jax.distributed.is_initialized():
        if rank == 0 and address is not None:
            _check_port(address)
        try:
            # What is None, jax finds out by itself.
            jax.distributed.initialize(
                address, count, rank, initialization_timeout=START, heartbeat_timeout_seconds=HEARTBEAT
            )
        except (RuntimeError, ValueError) as error:
            given = {"coordinator_address": address, "num_processes": count, "process_id": rank}
            shown = [f"{name} = {value}" for name, value in given.items() if value is not None]
            told = ", ".join(shown) or "nothing was given by JAX_..."
            first = str(error).strip().partition("\n")[0]
            raise InputError(f"the processes of the run do not come together ({told}): {first}") from error
    return JaxProcesses()


def _check_port(address: str) -> None:
    """Raises InputError where the first process cannot wait for the others there: jax itself would crash."""
    port = address.rpartition(":")[2]
    if not port.isdecimal():
        raise InputError(f"JAX_COORDINATOR_ADDRESS = {address!r} in the environment: HOST:PORT is wanted")
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            ours.bind(("", int(port)))
        except (OSError, OverflowError) as error:
            raise InputError(f"JAX_COORDINATOR_ADDRESS = {address!r}: port {port} is in use: choose another") from error


def _number(name: str) -> int | None:
    value = os.environ.get(name)
    if value is not None and not value.isdecimal():
        raise InputError(f"{name} = {value!r} in the environment: a whole number is wanted")
    return None if value is None else int(value)
