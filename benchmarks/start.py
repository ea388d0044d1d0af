"""What it costs to start, in seconds of CPU time, each beside its reference. Prints a table.

start.py PACKAGE [--pairs N] [--task TASK] [--quick]

CPU time, of a project's folder, as other processes change little of it. A run of three steps (`--debug fast`) also
writes its folder, validates, saves and tests; beside it stand the imports alone. Its second start finds what JAX has
compiled.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--task", default="regression")
    parser.add_argument("--quick", action="store_true", help="the first row alone")
    arguments = parser.parse_args()
    print("| | CPU, s | beside | its CPU, s | ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        fast = ["train.py", arguments.task, "--debug=fast", "--resume=never", f"--run_dir={folder}/runs"]
        kept = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/kept", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        off = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        lightning, nnx = ([*fast, f"--framework={name}"] for name in ("lightning", "nnx"))
        room = f"import {arguments.package}.engine"
        starts = [
            ("`train.py --help`", ["train.py", "--help"], {}, "imports", ["-c", "import jsonargparse, yaml"]),
            ("three steps, lightning", lightning, {}, "imports", ["-c", f"{room}.lightning.trainer"]),
            ("three steps, nnx", nnx, off, "imports", ["-c", f"{room}.nnx.loop"]),
            ("three steps, nnx, again", nnx, kept, "the first time", nnx),
        ]
        if not arguments.quick:
            seconds(nnx, kept)  # compiles
        for name, words, variables, beside, reference in starts[: 1 if arguments.quick else None]:
            rounds = [(seconds(words, variables), seconds(reference, off)) for _ in range(arguments.pairs)]
            a, b = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| {name} | {a:.2f} | {beside} | {b:.2f} | {a / b:.2f} |", flush=True)


def seconds(words, variables):
    """CPU time of a Python process, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
