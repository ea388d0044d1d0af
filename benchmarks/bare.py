"""What a trainer is measured by: no logging, no checkpoints, no validation. Prints steps a second.

bare.py PACKAGE REFERENCE MODEL STEPS: `torch` and `jax` are the loops that a person would write by hand, `lightning` is
Lightning's own Trainer with as little on as it can.
"""

import importlib
import sys
import time

import numpy as np

WARM_UP, BATCH, CLASSES, SHAPE = 20, 64, 10, (28, 28, 1)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (60_000, *SHAPE)).astype(np.uint8)
labels = rng.integers(0, CLASSES, len(images)).astype(np.int32)


def batches(steps):
    order = rng.permutation(len(images))
    for step in range(steps):
        start = step * BATCH % (len(images) - BATCH)
        chosen = order[start : start + BATCH]
        yield images[chosen], labels[chosen]


def torch(package, model, steps):
    """PyTorch with fused AdamW."""
    import torch

    net = create(package, model, "torch")
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    for step, (x, y) in enumerate(batches(WARM_UP + steps)):
        if step == WARM_UP:
            start = time.perf_counter()
        logits = net(torch.from_numpy(x) / 127.5 - 1)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps / (time.perf_counter() - start)


def lightning(package, model, steps):
    """`Trainer(barebones=True)`, automatic optimization, the same optimizer."""
    import lightning as L
    import torch

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = create(package, model, "torch")

        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == WARM_UP:
                self.start = time.perf_counter()

        def training_step(self, batch, batch_idx):
            x, y = batch
            return torch.nn.functional.cross_entropy(self.net(x / 127.5 - 1), y.long())

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-3, fused=True)

    class Loader:
        def __iter__(self):
            return ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(WARM_UP + steps))

        def __len__(self):
            return WARM_UP + steps

    module = Module()
    L.Trainer(max_epochs=1, accelerator="cpu", barebones=True).fit(module, Loader())
    return steps / (time.perf_counter() - module.start)


def jax(package, model, steps):
    """jax.jit with donation."""
    import jax
    import optax
    from flax import nnx

    graphdef, params, rest = nnx.split(create(package, model, "nnx", rngs=nnx.Rngs(0)), nnx.Param, ...)
    optimizer = optax.adamw(1e-3)

    def update(state, x, y):
        params, opt_state = state

        def loss_fn(params):
            logits = nnx.merge(graphdef, params, rest, copy=True)(x / 127.5 - 1)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        updates, opt_state = optimizer.update(jax.grad(loss_fn)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    update = jax.jit(update, donate_argnums=0)
    state = params, optimizer.init(params)
    for step, (x, y) in enumerate(batches(WARM_UP + steps)):
        if step == WARM_UP:
            jax.block_until_ready(state)
            start = time.perf_counter()
        state = update(state, x, y)
    jax.block_until_ready(state)
    return steps / (time.perf_counter() - start)


def create(package, model, file, **options):
    """The project's own model, so that the loops differ and nothing else."""
    config, name = {"mlp": ("MLPConfig", "MLP"), "convnet": ("ConvNetConfig", "ConvNet")}[model]
    config = getattr(importlib.import_module(f"{package}.models.{model}"), config)()
    return getattr(importlib.import_module(f"{package}.models.{model}.{file}"), name)(config, SHAPE, CLASSES, **options)


if __name__ == "__main__":
    package, reference, model, steps = sys.argv[1:]
    print({"torch": torch, "lightning": lightning, "jax": jax}[reference](package, model, int(steps)))
