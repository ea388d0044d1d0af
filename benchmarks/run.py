"""Steps a second of both trainers with everything on, each in pairs beside a bare loop; then the tables of
folder.py, tables.py, busy.py, start.py and window.py: docs/results.md.

    make bench                      every pair
    make bench ARGS="--pairs 1"     quicker, and rougher
    make bench ARGS=--quick         a few steps and images: whether it runs, no figures

A pair is two processes, one after the other: a bare loop or Lightning's own Trainer with nothing on (bare.py), and
`train.py` with its preset, logging, events, histograms, pictures, progress and checkpoints. The figure is the median of
the pairs' ratios, with the smallest and the largest. Validation is not in the steps' time; a run's own
`steps_per_second` says so on both sides.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PROJECT = HERE.parent / "build" / "bench"
PRESETS = {"mlp": "mnist_mlp", "convnet": "mnist"}
STEPS = {"mlp": 6000, "convnet": 400}
REFERENCES = {"lightning": ["torch", "lightning"], "nnx": ["jax"]}
TITLES = {"torch": "PyTorch, a loop", "lightning": "Lightning, barebones", "jax": "jax.jit, a loop"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--frameworks", nargs="+", default=["lightning", "nnx"])
    parser.add_argument("--models", nargs="+", default=["mlp", "convnet"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, STEPS["mlp"], STEPS["convnet"] = 1, 40, 40
    bake()
    print("| model | framework | beside | its steps/s | with everything on, steps/s | ratio (smallest to largest) |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        for framework in arguments.frameworks:
            rounds = []
            for _ in range(arguments.pairs):
                found = {reference: bare(reference, model) for reference in REFERENCES[framework]}
                rounds.append((found, trained(framework, model)))
            for reference in REFERENCES[framework]:
                pairs = [(found[reference], rate) for found, rate in rounds]
                ratios = [b / a for a, b in pairs]
                bare_rate, rate = (statistics.median(column) for column in zip(*pairs, strict=True))
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                row = (model, framework, TITLES[reference], f"{bare_rate:,.0f}", f"{rate:,.0f}", spread)
                print(f"| {' | '.join(row)} |", flush=True)
    few, quick = ["--pairs", arguments.pairs], arguments.quick
    busy = ["--targets", "image_classification=40", "--busy", 1] if quick else []
    for name, options in {
        "folder.py": ["--images", 64] if quick else [],
        "tables.py": ["--rows", 1000] if quick else [],
        "busy.py": ["--frameworks", *arguments.frameworks, *busy],
        "start.py": ["--quick"] if quick else [],
    }.items():
        print("\n" + python(HERE / name, "bench", *few, *options), end="", flush=True)
    if not quick:
        print("\n" + python(HERE / "window.py", "bench"), end="", flush=True)


def bake():
    """A project with both frameworks, and data of MNIST's size and format."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", str(HERE.parent)]
    answers = ["project_name=Bench", "framework=both", "tasks=image_classification,regression"]
    subprocess.run([*command, "--output-dir", str(PROJECT.parent), *answers], check=True, stdout=subprocess.DEVNULL)
    folder = PROJECT / "data" / "mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in {"train": 60_000, "t10k": 10_000}.items():
        idx(folder / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        idx(folder / f"{name}-labels-idx1-ubyte.gz", rng.integers(0, 10, count))


def idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header + values.astype(np.uint8).tobytes())


def bare(reference, model):
    return float(python(HERE / "bare.py", "bench", reference, model, STEPS[model]))


def trained(framework, model):
    steps = STEPS[model]
    options = ["--data.verify=false", "--trainer.epochs=0", f"--trainer.max_steps={steps}", "--model.dropout=0"]
    options += ["--accelerator=cpu", f"--trainer.val_every={steps // 2}", f"--trainer.checkpoint_every={steps // 2}"]
    python("train.py", f"image_classification/{PRESETS[model]}", f"--framework={framework}", "--resume=never", *options)
    results = PROJECT.glob(f"runs/image_classification/{PRESETS[model]}/{framework}/*/result.json")
    return json.loads(max(results).read_text())["steps_per_second"]


def python(*arguments):
    # Steps as short as the perceptron's gain nothing from torch's second thread, which makes the figures noisy.
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
