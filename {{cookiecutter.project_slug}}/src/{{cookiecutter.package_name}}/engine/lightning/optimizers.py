"""The optimizers that `optimizer.name` knows; yours stand in extensions/lightning.py.

Each gets parameters in groups with their `weight_decay`, and begins with the learning rate `config.learning_rate`, of
which the schedule takes a share. A group that is added later has `config.weight_decay`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ..config import OptimizerConfig
from ..errors import InputError
from ..meant import closest

EPSILON = 1e-8  # outside of the square root
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
RMS = 0.2  # of an update by Muon, about that of AdamW

Groups = list[dict[str, Any]]


def adamw(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019): the decay is no part of the gradient."""
    betas, decay = (config.momentum, config.beta2), config.weight_decay
    return torch.optim.AdamW(groups, config.learning_rate, betas, EPSILON, decay, fused=on_one_mesh(groups))


def adam(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba, 2015), with L2: the decay is added to the gradient."""
    betas, decay = (config.momentum, config.beta2), config.weight_decay
    return torch.optim.Adam(groups, config.learning_rate, betas, EPSILON, decay, fused=on_one_mesh(groups))


def sgd(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Gradient descent with momentum, Nesterov's too, and L2."""
    cut = any(isinstance(p, DTensor) for group in groups for p in group["params"])  # torch has no fused one of parts
    return torch.optim.SGD(
        groups,
        config.learning_rate,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        foreach=cut and on_one_mesh(groups),
        fused=not cut and on_one_mesh(groups),
    )


def rmsprop(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """RMSProp (Tieleman and Hinton, 2012), not centred, with momentum and L2. torch has none that is fused."""
    beta, decay, momentum = config.beta2, config.weight_decay, config.momentum
    return torch.optim.RMSprop(
        groups, config.learning_rate, beta, EPSILON, decay, momentum, foreach=on_one_mesh(groups)
    )


def muon(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Muon of matrices, AdamW of all else."""
    return Muon(groups, config.learning_rate, (config.momentum, config.beta2), config.weight_decay)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan, 2024) of matrices, with Nesterov's momentum and decoupled decay; AdamW of all else.

    Updates are as large as AdamW's (Liu et al., 2025), so that one learning rate is for both. torch's own Muon computes
    in bfloat16 and takes nothing but matrices.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    names = ("momentum_buffer",) if p.ndim == 2 else ("exp_avg", "exp_avg_sq")
                    state |= {"step": torch.tensor(0.0), **{name: torch.zeros_like(p) for name in names}}
                state["step"] += 1
                direction = _muon if p.ndim == 2 else _adam
                update = direction(p.grad, state, int(state["step"]), *group["betas"])
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * update)
        return loss


OPTIMIZERS: dict[str, Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "rmsprop": rmsprop,
    "muon": muon,
}


class Schedule(torch.optim.lr_scheduler.LambdaLR):
    """Takes a share of each group's rate; of groups that are added later, too, of the rate that they come with."""

    def get_lr(self) -> list[float | torch.Tensor]:
        share, groups = self.lr_lambdas[0], self.optimizer.param_groups
        if added := groups[len(self.base_lrs) :]:
            before = share(self.last_epoch - 1) or 1
            self.base_lrs += [group["lr"] / before for group in added]
        now = share(self.last_epoch)
        return [rate * now for rate in self.base_lrs]


def check(config: OptimizerConfig) -> None:
    """Raises InputError where no optimizer has the name."""
    if config.name not in (known := OPTIMIZERS | own()):
        hint = closest(config.name, list(known))
        raise InputError(
            f"optimizer.name = {config.name!r}: {hint}, or add it to OPTIMIZERS in extensions/lightning.py"
        )
    if not callable(known[config.name]):
        raise InputError(
            f"optimizer.name = {config.name!r}: OPTIMIZERS in extensions/lightning.py wants what makes an optimizer: "
            "lambda groups, config: ..."
        )


def create_optimizer(part: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Of what is trained in a module. Matrices and what has more dimensions decay, biases and norms do not.

    Raises InputError where no optimizer has the name.
    """
    check(config)
    parameters = [p for p in part.parameters() if p.requires_grad]
    decayed, others = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return (OPTIMIZERS | own())[config.name](groups, config)


def on_one_mesh(groups: Groups) -> bool:
    """Whether one kernel can take them all: torch's take no parts of a model that lie on several meshes."""
    return len({getattr(p, "device_mesh", None) for group in groups for p in group["params"]}) < 2


def group_sizes(states: Iterable[Mapping[str, Any]]) -> list[list[int]]:
    """How many parameters each group of each optimizer has, of their state dicts."""
    return [[len(group["params"]) for group in state["param_groups"]] for state in states]


def own() -> dict[str, Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]]:
    """Yours, which may use those here."""
    from ...extensions.lightning import OPTIMIZERS

    return OPTIMIZERS


def _adam(grad: torch.Tensor, state: dict[str, Any], step: int, beta1: float, beta2: float) -> torch.Tensor:
    momentum = state["exp_avg"].lerp_(grad, 1 - beta1)
    square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    return momentum / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + EPSILON)


def _muon(grad: torch.Tensor, state: dict[str, Any], step: int, beta: float, _: float) -> torch.Tensor:
    """Both terms of Nesterov's momentum are corrected for their start, as Adam's moments are."""
    momentum = state["momentum_buffer"].lerp_(grad, 1 - beta)
    ahead = beta / (1 - beta ** (step + 1)) * momentum + (1 - beta) / (1 - beta**step) * grad
    if isinstance(ahead, DTensor):  # each process computes with all of it and takes its part
        update = orthogonalized(ahead.full_tensor())
        update = distribute_tensor(update, ahead.device_mesh, ahead.placements, src_data_rank=None)
    else:
        update = orthogonalized(ahead)
    return RMS * max(grad.shape) ** 0.5 * update


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Five steps of Newton and Schulz towards the nearest matrix whose singular values are all 1."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + EPSILON)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
