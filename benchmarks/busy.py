"""Steps a second beside other processes that take the cores. Prints a table.

busy.py PACKAGE [--pairs N] [--busy N ...] [--targets TASK/PRESET=STEPS ...] [--frameworks NAME ...]

As it is: nothing said, so that the preset counts. Beside it the same with one thread, with one a core, and with one a
core whose threads sleep while they wait, by variables of the environment, in turns. The ratio is that of the medians,
to the best of the three. An other process is `python -c "while True: pass"`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# torch asks OpenMP's variables, and JAX's CPU asks NPROC for the size of its pool, whose threads always sleep.
CORES = str(os.cpu_count())
WAYS = {
    "lightning": {
        "as it is": {},
        "one thread": {"OMP_NUM_THREADS": "1"},
        f"{CORES} threads": {"OMP_NUM_THREADS": CORES},
        f"{CORES} that sleep": {"OMP_NUM_THREADS": CORES, "OMP_WAIT_POLICY": "PASSIVE"},
    },
    "nnx": {"as it is": {}, "one thread": {"NPROC": "1"}, f"{CORES} threads": {"NPROC": CORES}},
}
TARGETS = ["regression=600", "image_classification=200"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--frameworks", nargs="+", default=[*WAYS])
    arguments = parser.parse_args()
    print("| preset | framework | others | as it is, steps/s | the best other way, steps/s | ratio |")
    print("|---|---|---|---|---|---|")
    for target, framework, others in (
        (t, f, n) for t in arguments.targets for f in arguments.frameworks for n in arguments.busy
    ):
        preset, steps = target.rsplit("=", 1)
        ways, found = list(WAYS[framework].items()), {}
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
        try:
            for i in range(arguments.pairs):
                for name, variables in ways if i % 2 == 0 else reversed(ways):
                    rate = trained(arguments.package, preset, framework, int(steps), variables)
                    found.setdefault(name, []).append(rate)
        finally:
            for loop in loops:
                loop.kill()
        rates = {name: statistics.median(values) for name, values in found.items()}
        ours = rates.pop("as it is")
        best = max(rates, key=rates.get)
        row = (preset, framework, others, f"{ours:,.0f}", f"{rates[best]:,.0f} ({best})", f"{ours / rates[best]:.2f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        print(f"{preset} {framework} {others}: {found}", file=sys.stderr)


def trained(package, preset, framework, steps, variables):
    """Steps a second, as a run measures them: without its first call, validation and checkpoints."""
    said = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    length = ["--trainer.epochs=0", f"--trainer.max_steps={steps}"]
    with tempfile.TemporaryDirectory() as runs:
        options = [f"--framework={framework}", f"--run_dir={runs}", *length]
        command = [sys.executable, "-m", package, "train", preset, *options]
        done = subprocess.run(command, env=said | variables, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        [result] = Path(runs).glob("*/*/*/*/result.json")
        return json.loads(result.read_text())["steps_per_second"]


if __name__ == "__main__":
    main()
