"""Rows a second from a CSV to ready arrays, beside polars that only reads the file; and memory. Prints a table.

tables.py PACKAGE [--pairs N] [--rows N]

The file has ten columns: an index, seven of numbers, two of names and codes. The project's way is that of a run of
`regression/csv`: read and checked, numbers standardised, categories numbered, rows split. Each way is a process of its
own, without its imports in the time; memory is the peak above what the process had before, as a multiple of the file.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("polars", "project")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=2, metavar=("WAY", "PATH"), help="what each process is given")
    arguments = parser.parse_args()
    if arguments.read:
        way, path = arguments.read
        print(json.dumps(measure({"polars": polars, "project": project}[way](arguments.package, path))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        write(path, arguments.rows)
        rounds = [[process(arguments.package, way, path) for way in WAYS] for _ in range(arguments.pairs)]
        size = path.stat().st_size
    print("| rows | polars alone, rows/s | to ready arrays, rows/s | ratio (smallest to largest) | memory / file |")
    print("|---|---|---|---|---|")
    rates = [[arguments.rows / found["seconds"] for found in round] for round in rounds]
    alone, ready = (statistics.median(column) for column in zip(*rates, strict=True))
    ratios = [b / a for a, b in rates]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    memory = statistics.median(round[1]["bytes"] for round in rounds) / size
    print(f"| {arguments.rows:,} | {alone:,.0f} | {ready:,.0f} | {spread} | {memory:.1f} |")


def write(path, rows):
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("id,size,rooms,price,latitude,longitude,city,kind,year,target\n")
        for start in range(0, rows, 50_000):
            n = min(50_000, rows - start)
            columns = [
                range(start, start + n),
                [f"{x:.2f}" for x in rng.lognormal(4, 0.5, n)],
                rng.integers(1, 9, n),
                [f"{x:.3f}" for x in rng.normal(0, 100, n)],
                [f"{x:.4f}" for x in rng.uniform(-90, 90, n)],
                [f"{x:.4f}" for x in rng.uniform(-180, 180, n)],
                [f"city{i}" for i in rng.integers(0, 40, n)],
                rng.integers(1, 5, n),
                rng.integers(1900, 2024, n),
                [f"{x:.3f}" for x in rng.normal(5, 2, n)],
            ]
            file.writelines(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def process(package, way, path):
    command = [sys.executable, __file__, package, "--read", way, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(read):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    read()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "bytes": peak * (1 if sys.platform == "darwin" else 1024)}


def polars(package, path):
    import polars

    return lambda: polars.read_csv(path)


def project(package, path):
    import importlib

    import pyarrow.compute
    import pyarrow.csv  # noqa: F401, as the project does where it reads a table

    options = {"data.path": path, "data.target": "target", "data.categorical": "city,kind", "data.drop": "id"}
    config = importlib.import_module(package).load_config("regression/csv", options)
    task = importlib.import_module(f"{package}.engine.task").find("regression")
    return lambda: task.load(config, None)


if __name__ == "__main__":
    main()
