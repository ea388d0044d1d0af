"""The LightningModule of every task: steps, optimizers, logging. The task gives the model, losses and metrics."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from ... import task as tasks
from ...config import OptimizerConfig
from ...data.batches import make_batch
from .. import load_config
from ..mesh import Mesh
from ..schedule import LOSS_SCALE, LOSS_SCALE_STEPS, Plan, average_weight, learning_rate, schedule_steps
from . import mesh

Batch = dict[str, torch.Tensor]
ONE = Mesh()


class Module(L.LightningModule):
    """A task's model under training.

    Optimization is manual because a batch's loss is a sum divided by a weight: gradients are exact only when they are
    divided by the weight of all micro-batches, after the last of them.

    Args:
        config: the run's, as plain values (`config.to_dict`), so that a checkpoint holds plain data only.
        spec: the dataset's.
        plan: the course of the run; training needs it, evaluation does not.
        devices: those of the run.
    """

    def __init__(
        self, config: Mapping[str, Any], spec: Mapping[str, Any], plan: Plan | None = None, devices: Mesh = ONE
    ):
        super().__init__()
        self.save_hyperparameters("config", "spec", logger=False)
        self.automatic_optimization = False
        self.config, self.spec, self.plan = load_config(saved=config), spec, plan
        self.twin = tasks.twin(tasks.find(self.config.task), "lightning")
        self.net = self.twin.create_model(self.config, spec)
        # The moving average of the network, which is what is evaluated where there is one.
        self.ema = copy.deepcopy(self.net).requires_grad_(False) if self.config.optimizer.ema_decay else None
        self.loss_scale = LossScale() if self.config.accelerator.precision == "float16" else None
        self.register_buffer("skipped", torch.tensor(0))  # updates left out, as they were not finite
        self.losses = self.twin.losses(self.config)
        self.metrics = self.twin.create_metrics(spec)
        self.devices, self.parts = devices, mesh.Parts(devices)
        for metric in self.metrics.values():
            metric.process_group = self.parts.group
        self.resident: Batch = {}  # the training data, where they stay on the device
        self.augment: Callable[[Batch], Batch] | None = None
        self.step = 0  # updates of the task; Lightning's global_step counts those of every optimizer
        self.logs: dict[str, float] = {}  # of the last step, where its plan logs
        self.arrays: dict[str, np.ndarray] = {}  # metrics of the last evaluation that are no numbers

    def forward(self, batch: Batch) -> Batch:
        return self.twin.predict_step(self.evaluated, batch)

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and keep: the average where there is one, with the current statistics."""
        return self.net if self.ema is None else self.ema

    def configure_model(self) -> None:
        """Called before optimizers are made."""
        if self.devices.devices > self.devices.data:
            nets = [self.net] if self.ema is None else [self.net, self.ema]
            mesh.cut(nets, self.devices, self.config.model.TENSOR, self.trainer.strategy.root_device.type)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["step"] = self.step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step = checkpoint["step"]

    def on_train_start(self) -> None:
        """The config rules, also over the hyper-parameters that a checkpoint of another run has brought along."""
        rate = learning_rate(self.step, self.config.optimizer, schedule_steps(self.config, self.plan))
        for loss, optimizer in zip(self.losses.values(), self.trainer.optimizers, strict=True):
            fresh = create_optimizer(self.part(loss), self.config.optimizer).param_groups
            for group, wanted in zip(optimizer.param_groups, fresh, strict=True):
                group.update({**wanted, "params": group["params"], "lr": rate})

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        """A step for each batch: one by default, `lightning.steps_per_call` to spare the Trainer's work between.

        Lightning's hooks, those around backward and the optimizer's step too, are called for the last of them.
        """
        for i, batch in enumerate(batches, 1):
            self.step += 1
            # Dropout is a function of (seed, step, part), so no checkpoint has to hold a generator's state.
            seed(self.device, seed_of(self.config.seed, self.step, self.parts.mine))
            if self.resident:
                batch = make_batch(batch, self.augment, self.resident)
            self._step(batch, logging=self.plan.logs(self.step), hooks=i == len(batches))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def configure_optimizers(self):
        """One optimizer and one schedule for each loss, over the parameters that it moves."""
        config, end = self.config.optimizer, schedule_steps(self.config, self.plan)
        optimizers, schedulers = [], []
        for loss in self.losses.values():
            optimizer = create_optimizer(self.part(loss), config)
            rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, config, end))
            optimizers.append(optimizer)
            schedulers.append({"scheduler": rates, "interval": "step"})
        return optimizers, schedulers

    def _evaluate(self, batch: Batch) -> None:
        metrics = self.metrics
        if self.parts.count > 1 and not batch["mask"].any():
            # All padding: this process takes part, as the others may need its parts of the model, and adds nothing.
            batch = {**batch, "mask": torch.ones_like(batch["mask"])}
            metrics = self.twin.create_metrics(self.spec).to(self.device)
        self.twin.eval_step(self.evaluated, batch, metrics)

    def _step(self, batch: Batch, logging: bool, hooks: bool) -> None:
        """One update for each loss, in order, each over all micro-batches; then the moving average."""
        self.logs = logs = {}
        several, square_norm = len(self.losses) > 1, 0.0
        toggled = several and self.devices.devices == self.devices.data  # what is cut stays as it is
        optimizers, schedulers = _list(self.optimizers(use_pl_optimizer=hooks)), _list(self.lr_schedulers())
        for name, optimizer, scheduler in zip(self.losses, optimizers, schedulers, strict=True):
            if toggled:
                self.toggle_optimizer(optimizer)
            total, weight, norm = self._update(name, optimizer, batch, logging, hooks)
            scheduler.step()
            if toggled:
                self.untoggle_optimizer(optimizer)
            if logging:
                logs[f"loss/{name}"] = (total / weight).item()
                square_norm += norm.item() ** 2
        if self.ema is not None:
            self._average()
        if logging:
            loss, parts = sum(logs.values()), {f"train/{name}": value for name, value in logs.items() if several}
            more = {"grad_norm": square_norm**0.5}
            if self.config.trainer.on_nan == "skip":
                more["skipped_updates"] = self.skipped.item()
            logs.update(more)
            others = {f"train/{name}": float(value) for name, value in more.items()}
            self.log_dict({"train/loss": loss, **parts, **others}, logger=False)

    def part(self, loss: tasks.Loss) -> nn.Module:
        """That whose parameters a loss moves."""
        return getattr(self.net, loss.params) if loss.params else self.net

    def _update(
        self, name: str, optimizer, batch: Batch, with_norm: bool, hooks: bool
    ) -> tuple[torch.Tensor, torch.Tensor | int, torch.Tensor | None]:
        """Returns the loss's sum and weight, and the norm of its mean's gradient where that is asked for.

        All three are of all devices.
        """
        pieces = _split(batch, self.config.trainer.accumulate)
        total, weight, scale = 0.0, 0, self.loss_scale
        # Of float16, the mean over the examples is what is scaled: a sum would overflow with the size of the batch.
        factor = scale.factor / len(next(iter(batch.values()))) if scale else 1.0
        at_once = len(pieces) == 1 and scale is None and self.parts.count == 1  # then the weight is known before
        guarded = scale is not None or self.config.trainer.on_nan == "skip"
        buffers = list(self.net.buffers()) if guarded else []
        before = [buffer.clone() for buffer in buffers]
        for i, piece in enumerate(pieces, 1):
            loss, w = self.losses[name].fn(self.net, piece)
            self._backward(loss / w if at_once else loss * factor, hooks, last=i == len(pieces))
            total, weight = total + loss.detach(), weight + w
        total, weight = self.parts.sum(total, weight)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        grads = mesh.take_gradients(params)
        norm, clip_norm = None, self.config.optimizer.clip_norm
        if not at_once:  # between devices, gradients were averaged
            torch._foreach_mul_(grads, self.parts.count / (weight * factor))
        if with_norm or clip_norm or guarded:
            norm = mesh.norm(params)
        if clip_norm:
            torch._foreach_mul_(grads, clip_norm / norm.clamp(min=clip_norm))
        if guarded:  # an update that is not finite is left out
            finite = norm.isfinite() & (total / weight).isfinite()
            leave_out(optimizer, ~finite)
            for now, earlier in zip(buffers, before, strict=True):
                now.copy_(torch.where(finite, now, earlier))
            self.skipped += ~finite
            if scale:
                scale.next(finite)
        optimizer.step()
        optimizer.zero_grad()
        if self.devices.devices > self.devices.data:
            self.net.zero_grad()
        return total, weight, norm

    def _backward(self, loss: torch.Tensor, hooks: bool, last: bool) -> None:
        """last: of the micro-batches; copies of the model exchange their gradients then only."""
        strategy = self.trainer.strategy
        with contextlib.nullcontext() if last or self.parts.count == 1 else strategy.block_backward_sync():
            if hooks:
                self.manual_backward(loss)
            else:  # an optimizer that is not wrapped by Lightning takes no hooks
                strategy.pre_backward(loss)
                loss.backward()

    @torch.no_grad()
    def _average(self) -> None:
        weight = average_weight(self.step - 1, self.config.optimizer.ema_decay)
        torch._foreach_lerp_(*([mesh.local(p) for p in net.parameters()] for net in (self.ema, self.net)), weight)
        if buffers := list(self.ema.buffers()):
            torch._foreach_copy_(buffers, list(self.net.buffers()))

    def _log_metrics(self, split: str) -> None:
        values = {name: value.float() for name, value in self.metrics.compute().items()}
        self.metrics.reset()
        self.arrays = {name: value.cpu().numpy() for name, value in values.items() if value.ndim}
        self.log_dict({f"{split}/{name}": v for name, v in values.items() if not v.ndim}, logger=False)


class LossScale(nn.Module):
    """The factor that keeps float16 gradients from vanishing, and the updates since it last changed.

    Lightning's own scaler knows neither sums with weights nor several losses.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(LOSS_SCALE))
        self.register_buffer("steps", torch.tensor(0))

    @torch.no_grad()
    def next(self, finite: torch.Tensor) -> None:
        """Half where a gradient was not finite; twice as large after `LOSS_SCALE_STEPS` updates that were."""
        grows = self.steps + 1 >= LOSS_SCALE_STEPS
        factor = torch.where(finite, torch.where(grows, self.factor * 2, self.factor), self.factor / 2)
        self.steps.copy_(torch.where(finite & ~grows, self.steps + 1, 0))
        self.factor.copy_(factor)


def leave_out(optimizer: torch.optim.Optimizer, update: torch.Tensor) -> None:
    """Whether a fused optimizer, wrapped by Lightning or not, leaves its next update out, decided on the device."""
    fused = getattr(optimizer, "optimizer", optimizer)
    fused.grad_scale, fused.found_inf = None, update.float()


def create_optimizer(part: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) with epsilon = 1e-8, or SGD with momentum and L2.

    Its learning rate is 1: LambdaLR multiplies it by the schedule's, which is then exactly that.
    """
    parameters = mesh.own(part.parameters())
    decayed, others = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, 1.0, (config.momentum, config.beta2), 1e-8, fused=True)
    sgd = torch.optim.SGD(groups, 1.0, config.momentum, fused=True)
    for p in parameters if config.momentum else ():
        # torch leaves it uninitialised where the first update is left out.
        sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return sgd


def seed(device: torch.device, value: int) -> None:
    """Seeds the generator that dropout draws from; torch.manual_seed seeds every kind of device, in a millisecond."""
    generator = torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
    generator.manual_seed(value)


def seed_of(seed: int, step: int, part: int = 0) -> int:
    """A 64-bit seed for a part of a step: mixed by three odd constants, so that neighbours share nothing."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + part * 0xA0761D6478BD642F) % 2**63


def _split(batch: Batch, count: int) -> list[Batch]:
    """Micro-batches of the same size, in order."""
    if count == 1:
        return [batch]
    pieces = {name: value.chunk(count) for name, value in batch.items()}
    return [{name: piece[i] for name, piece in pieces.items()} for i in range(count)]


def _list(value):
    """Lightning gives one optimizer bare, several as a list."""
    return value if isinstance(value, list) else [value]
