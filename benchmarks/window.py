"""What looking costs: writing for TensorBoard, opening many runs in it, listing many. Prints a table.

window.py PACKAGE [--runs N] [--points N]

In a project's folder. The runs are copies of a short one of `regression`, each with a curve of `--points` points.
Writing: CPU time of one log, as often as the config says, as a share of the time of the steps between two.
"""

import argparse
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

STEPS = 2_000
EVERY = 50  # steps from one log to the next, by default
TAGS = 9  # of a log


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--points", type=int, default=10_000)
    arguments = parser.parse_args()
    sys.path.insert(0, "src")
    writer = importlib.import_module(f"{arguments.package}.engine.tensorboard").Writer
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "runs")
        python("train.py", "regression", "--trainer.max_steps", STEPS, "--run_dir", runs)
        trained = sorted(runs.glob("*/*/*/001"))
        cost = writing(writer, Path(folder, "writing"))
        print("| | |")
        print("|---|---|")
        for run in trained:
            rate = json.loads((run / "result.json").read_text(encoding="utf-8"))["steps_per_second"]
            share = cost * rate / EVERY
            print(f"| a log, beside {EVERY} steps of {run.parent.name}, {rate:,.0f} a second | {share:.2%} |")
        copy(trained[0], writer, arguments.runs, arguments.points)
        count = len(list(runs.glob("*/*/*/*/config.yaml")))
        print(f"| `list runs` of {count} | {timed('-m', arguments.package, 'list', 'runs', '--run_dir', runs):.1f} s |")
        opened = opening(arguments.package, runs, count, arguments.points)
        print(f"| `board`, until it has all curves of {count} runs of {arguments.points:,} points | {opened:.1f} s |")


def writing(writer, folder):
    """Seconds of CPU that a log takes."""
    written, values = writer(folder), {f"train/value_{i}": float(i) for i in range(TAGS)}
    began = time.process_time()
    for step in range(1_000):
        written.scalars(step, values)
    return (time.process_time() - began) / 1_000


def copy(run, writer, count, points):
    for number in range(2, count + 1):
        folder = run.with_name(f"{number:03d}")
        shutil.copytree(run, folder)
        written = writer(folder)
        for step in range(points):
            written.scalars(step, {"bench": math.exp(-step / points) + number})
        written.close()


def opening(package, runs, count, points):
    """Seconds from the command to the last point of the last run."""
    began = time.perf_counter()
    command = [sys.executable, "-m", package, "board", "--run_dir", str(runs)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as board:
        try:
            url = board.stdout.readline().split()[0].rstrip("/")
            while len(tags := get(f"{url}/data/plugin/scalars/tags")) < count:
                time.sleep(0.2)
            for run in sorted(name for name, found in tags.items() if "bench" in found):
                while get(f"{url}/data/plugin/scalars/scalars?run={run}&tag=bench")[-1][1] < points - 1:
                    time.sleep(0.2)
        finally:
            board.terminate()
    return time.perf_counter() - began


def get(url):
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def timed(*words):
    began = time.perf_counter()
    python(*words)
    return time.perf_counter() - began


def python(*words):
    done = subprocess.run([sys.executable, *map(str, words)], env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stderr}")


def environment():
    return {**os.environ, "PYTHONPATH": "src"}


if __name__ == "__main__":
    main()
