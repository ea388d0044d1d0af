"""The loop that a person would write by hand: no logging, no checkpoints, no validation. Prints steps a second.

bare.py PACKAGE FRAMEWORK MODEL STEPS
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


def lightning(package, model, steps):
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


def nnx(package, model, steps):
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
    package, framework, model, steps = sys.argv[1:]
    print({"lightning": lightning, "nnx": nnx}[framework](package, model, int(steps)))
