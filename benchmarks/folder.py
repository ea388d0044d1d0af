"""Images a second of the folder loader beside the bare decode of the same files. Prints a table.

folder.py PACKAGE [--pairs N] [--threads N ...]

The files are 512 JPEGs of 500 x 375 pixels, the size of ImageNet's, made here. Bare: open, decode, convert to an array.
The loader does that and cuts 224 x 224 pixels out at random, resizes, mirrors and stacks (train), or resizes and cuts
out the middle (evaluate). Both read with the same number of threads; the figures are medians of pairs, one after the
other.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

BATCH, SIZE = 32, (500, 375)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    print("| threads | bare decode, images/s | train, images/s (ratio) | evaluate, images/s (ratio) |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        files = write(Path(root) / "imagenet", arguments.images)
        data = load(arguments.package, root)
        for threads in arguments.threads:
            ways = (lambda t: bare(files, t), lambda t: train(data, t), lambda t: evaluate(data, t))
            rounds = [[way(threads) for way in ways] for _ in range(arguments.pairs)]
            plain, trained, evaluated = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratios = [statistics.median(round[i] / round[0] for round in rounds) for i in (1, 2)]
            cells = [f"{plain:,.0f}", f"{trained:,.0f} ({ratios[0]:.2f})", f"{evaluated:,.0f} ({ratios[1]:.2f})"]
            print(f"| {threads} | {' | '.join(cells)} |", flush=True)


def write(folder, count):
    """Soft noise compresses about as well as a photograph: some 45 kB a file."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)).resize(SIZE, Image.BICUBIC)
        pixels = np.asarray(coarse).astype(np.int16) + rng.normal(0, 8, (SIZE[1], SIZE[0], 1))
        for split in ("train", "val"):
            path = folder / split / f"class{i % 4}" / f"{i:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return sorted((folder / "train").glob("*/*"))


def load(package, root):
    """(the dataset, the package's module of batches)."""
    config = importlib.import_module(f"{package}.engine.registry").load_config(
        "image_classification/imagenet", {"data.root": root, "data.batch_size": BATCH}
    )
    task = importlib.import_module(f"{package}.engine.task").find("image_classification")
    return task.load(config, None), importlib.import_module(f"{package}.engine.data.batches")


def bare(files, threads):
    def decode(path):
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(decode, files):
            pass
    return len(files) / (time.perf_counter() - began)


def train(data, threads):
    dataset, module = data
    batches = module.TrainBatches(dataset, BATCH, seed=0)
    began = time.perf_counter()
    for _ in module.ahead(batches.__getitem__, range(batches.steps_per_epoch), threads):
        pass
    return batches.steps_per_epoch * BATCH / (time.perf_counter() - began)


def evaluate(data, threads):
    dataset, module = data
    began = time.perf_counter()
    for _ in module.eval_batches(dataset.val, BATCH, workers=threads):
        pass
    return len(dataset.val) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
