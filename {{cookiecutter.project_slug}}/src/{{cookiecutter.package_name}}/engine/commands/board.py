"""Shows runs in TensorBoard, on this machine, until Ctrl-C.

All runs below run_dir, or those that are named: RUN is the folder of one, or a folder with some. Runs that begin later
are shown, too, where their task and preset are, unless runs were chosen among others. A page in a browser reads anew by
its button, or by itself: Settings, Reload data. From elsewhere: ssh -L PORT:localhost:PORT HOST.
"""

import argparse
import contextlib
import io
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import registry
from ..arguments import Parser, suggest
from ..errors import InputError
from ..meant import closest

USAGE = "[TASK[/PRESET]... | RUN...] [--port N] [--run_dir DIR]"
KEYS = ""

POINTS = 100_000  # of a chart, of all its runs, that a browser draws in seconds; a curve has a thousand at least
SAMPLES = "images=1000,text=1000,audio=1000,pr_curves=1000"  # of a tag; ten of most, where it is not said
DEPTH = 4  # of a run below run_dir: task/preset/framework/name


def arguments(parser: Parser, first: str) -> None:
    suggest(parser.add_argument("named", metavar="TASK or RUN", nargs="*"), registry.presets())
    parser.add_argument(
        "--port", type=int, metavar="N", help="without it TensorBoard's own, or the next one that is free"
    )
    parser.add_argument("--run_dir", metavar="DIR", type=Path, default=Path("runs"), help="folder of the runs (runs)")


def run(given: argparse.Namespace) -> int:
    runs = find(given.named, given.run_dir)
    with contextlib.ExitStack() as stack:
        folder = common(runs)
        if _below(folder) != runs:
            links = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="board-")))
            folder = linked(runs, folder, links)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            url = _serve(folder, given.port, max(1000, POINTS // len(runs)))
            print(f"{url} shows {len(runs)} run{'s' * (len(runs) > 1)}; Ctrl-C ends it", flush=True)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def find(named: Sequence[str], run_dir: Path) -> list[Path]:
    """The folders of the runs that are named, each once. Raises InputError for a word that names none."""
    found: set[Path] = set()
    for word in named or [""]:
        folder = Path(word) if word and Path(word).is_dir() else run_dir / word
        if not (runs := _below(folder)):
            known = not word or word.partition("/")[0] in registry.presets()
            hint = "train one first" if known else closest(word, list(registry.presets()))
            raise InputError(f"{folder} is no run, and holds none: {hint}")
        found |= set(runs)
    return sorted(found)


def common(runs: Iterable[Path]) -> Path:
    """The deepest folder that has all runs below it, with their frameworks in their names."""
    return Path(os.path.commonpath([run.parents[1] for run in runs]))


def linked(runs: Iterable[Path], folder: Path, links: Path) -> Path:
    """A folder of links to runs, of the names that they have below another folder."""
    for run in runs:
        link = links / run.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(run, target_is_directory=True)
        except OSError as error:  # as Windows has it, without its developer mode
            raise InputError(f"no links to the runs can be made: {error.strerror}: name a task, or {folder}") from error
    return links


def _below(folder: Path) -> list[Path]:
    """The absolute folders of a run, or of those below."""
    files = [path for depth in range(DEPTH + 1) for path in folder.glob("*/" * depth + "config.yaml")]
    return sorted(path.parent.resolve() for path in files)


def _serve(folder: Path, port: int | None, points: int) -> str:
    """Begins to. Returns the URL. points: of a curve, that are kept."""
    with warnings.catch_warnings():  # loading it warns of its own copy of html5lib
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard import program

        served = program.TensorBoard()
    options = ["--logdir", str(folder), "--host", "127.0.0.1", "--reload_interval", "5"]
    options += ["--samples_per_plugin", f"scalars={points},{SAMPLES}"]
    try:
        served.configure(["tensorboard", *options, *([] if port is None else ["--port", str(port)])])
        with contextlib.redirect_stderr(io.StringIO()):  # of its fast loader, that it is one
            return served.launch()
    except program.TensorBoardServerException as error:
        raise InputError(f"--port {port}: {error.msg}: choose another one") from error
