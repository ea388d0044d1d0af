"""What a plain PyTorch loop makes of a preset of object detection: the same model, batches, rate and clipping, and
nothing else of the project's. Prints the average precision of the test split.

detection.py PACKAGE [PRESET] [OPTION ...], with the options of train.py
"""

import importlib
import math
import sys
import time

import numpy as np
import torch


def main():
    package, *words = sys.argv[1:]
    preset = [words.pop(0)] if words and not words[0].startswith("-") else []
    config = importlib.import_module(package).load_config("/".join(["object_detection", *preset]), words)
    half = importlib.import_module(f"{package}.tasks.object_detection.lightning")
    task = importlib.import_module(f"{package}.tasks.object_detection").task
    batches = importlib.import_module(f"{package}.engine.data.batches")
    data = task.load(config, None)
    steps = config.trainer.max_steps or config.trainer.epochs * (len(data.train) // config.data.batch_size)

    torch.manual_seed(config.seed)
    model = half.create_model(config, data.spec)
    options = config.optimizer
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)

    def rate(step):
        """Warm-up, then a cosine to zero, as a share of the rate."""
        if step < options.warmup_steps:
            return (step + 1) / options.warmup_steps
        return 0.5 + 0.5 * math.cos(math.pi * (step - options.warmup_steps) / (steps - options.warmup_steps))

    schedule, start = torch.optim.lr_scheduler.LambdaLR(optimizer, rate), time.perf_counter()
    stream = batches.TrainBatches(data, config.data.batch_size, seed=config.seed)
    for step in range(steps):
        batch = {name: torch.from_numpy(value) for name, value in stream[step].items()}
        loss, weight, _ = half.loss_fn(model, batch)
        optimizer.zero_grad()
        (loss / weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item() / weight:.4f}", flush=True)
    found = {name: round(value, 4) for name, value in test(task, half, model, data)}
    print(f"{time.perf_counter() - start:.0f} s", found)


@torch.no_grad()
def test(task, half, model, data, size=8):
    """(name, value) of each average precision on the test split."""
    model.eval()
    metrics = half.create_metrics(data.spec)
    for first in range(0, len(data.test), size):
        batch = data.test[np.arange(first, min(first + size, len(data.test)))]
        batch = {name: torch.from_numpy(value) for name, value in batch.items()}
        half.eval_step(model, batch | {"mask": torch.ones(len(batch["image"]), dtype=torch.bool)}, metrics)
    found = metrics.compute()
    return task.scores({name: found[name].numpy() for name in ("found", "truth")}, data.spec).items()


if __name__ == "__main__":
    main()
