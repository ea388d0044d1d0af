"""A study: trials of Optuna, each of them a run in a process of its own.

The study's folder holds Optuna's journal, in which a study of each framework stands. Several workers, on one machine or
on more, may be at it: what is done next is decided under a lock of the folder, and a worker holds a lock of its trial.
A trial that nobody holds any more, as its worker was killed, is queued again, and its run goes on where it was.
"""

import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from .. import runs
from ..apart import train_apart
from ..config import Config
from ..console import shown
from ..data.files import write_text
from ..errors import InputError, RunError
from ..folder import read_result
from ..task import Task
from . import picture
from .space import Space, word, write_result

RUN = "run"  # the attribute of a trial that is the number of its run: another trial may go on with that
STATES = {TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
WAIT = 1.0  # seconds

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """The search of one framework.

    Attributes:
        words: of `train`, but for what is searched.
        count: of trials, those of all workers and of earlier commands together.
    """

    def __init__(self, folder: Path, config: Config, task: Task, space: Space, words: Sequence[str], count: int):
        self.folder, self.config, self.task, self.space, self.count = folder, config, task, space, count
        self.words = [*words, "--framework", config.framework]
        self.runs = Path(config.run_dir, config.task, config.preset or "default", config.framework)
        self.lock = FileLock(folder / ".lock")
        with self.lock:
            _cut(journal := folder / "journal.log")
            # The lock ends with its process: Optuna's own ones are left behind by a kill.
            backend = JournalFileBackend(str(journal), self.lock)  # type: ignore[arg-type]  # it asks for no more
            self.study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name=config.framework,
                direction="maximize" if task.mode == "max" else "minimize",
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),  # not at the first validation, which tells little
                load_if_exists=True,
            )

    def queue(self) -> None:
        """Every combination of the space's values."""
        with self.lock:
            there = self._trials()
            for number, values in enumerate(product(*self.space.values()), 1):
                if number not in there:
                    self.study.enqueue_trial(dict(zip(self.space, values, strict=True)), {RUN: number})

    def search(self, prune: bool) -> int:
        """Trials until there are enough. prune: stop those whose validations are worse than the median of the others'.

        Returns the exit code where a signal ended a run, or the first runs could not begin; else 0.
        """
        while found := self._next():
            trial, held = found
            try:
                if code := self._train(trial, prune):
                    return code
            finally:
                held.release()
                Path(held.lock_file).unlink(missing_ok=True)
        return 0

    def _trials(self) -> dict[int, FrozenTrial]:
        """By the number of their runs: of each the last."""
        return {trial.user_attrs[RUN]: trial for trial in self.study.get_trials() if RUN in trial.user_attrs}

    def _next(self) -> tuple[Trial, Any] | None:
        """A trial, and the lock by which it is this worker's; None where there are enough."""
        with self.lock:
            self._queue_dropped()
            trials = self._trials()
            waiting = any(trial.state == TrialState.WAITING for trial in trials.values())
            if len(trials) >= self.count and not waiting:
                return None
            # By the number, so that a search that was interrupted proposes what it would have.
            seed = np.random.SeedSequence([self.config.seed, len(trials)]).generate_state(1)
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]), constant_liar=True)
            trial = self.study.ask()
            held = self._held(trial.number)
            held.acquire()
            if RUN not in trial.user_attrs:
                trial.set_user_attr(RUN, len(trials) + 1)
            for key, values in self.space.items():
                _suggest(trial, key, values)
            return trial, held

    def _queue_dropped(self) -> None:
        """Trials whose worker is gone, once more."""
        for trial in self.study.get_trials():
            held = self._held(trial.number)
            if trial.state == TrialState.RUNNING and not runs.is_locked(Path(held.lock_file)):
                if RUN in trial.user_attrs and self._trials()[trial.user_attrs[RUN]].number == trial.number:
                    self.study.enqueue_trial(trial.params, trial.user_attrs)
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _held(self, number: int) -> FileLock:
        return FileLock(self.folder / f".{self.config.framework}-{number}.lock")

    def _train(self, trial: Trial, prune: bool) -> int:
        number, pruned = trial.user_attrs[RUN], False
        folder = self.runs / self._name(number)
        names = runs.short_names(self.space)
        about = " ".join(f"{name}={runs.brief(trial.params[key])}" for key, name in names.items())
        this = f"trial {number} of {self.count}"
        _say(f"\n{this}: {self.config.framework}, {about}")
        if runs.is_locked(folder / ".lock"):
            _say(f"{folder}: waiting for the process that is at it")
            while runs.is_locked(folder / ".lock"):
                time.sleep(WAIT)

        def unwanted() -> bool:
            nonlocal pruned
            pruned = self._report(trial, folder)
            return pruned

        words = [f"--{key}={word(value)}" for key, value in trial.params.items()]
        code, finished = train_apart([*self.words, *words, "--name", self._name(number)], unwanted if prune else None)
        self._report(trial, folder)
        value = read_result(folder)["metrics"].get(self.task.monitor, math.nan) if finished else math.nan
        begun = any(other.state in (TrialState.COMPLETE, TrialState.PRUNED) for other in self._trials().values())
        # Bad input that the first one meets, all would meet, as data that are not there.
        if not finished and not pruned and (code in (130, 143) or (code == InputError.exit_code and not begun)):
            _say(f"{folder} waits: the same command goes on")
            return code
        if not math.isnan(value):
            self.study.tell(trial, value)
            best = self.study.best_trial
            _say(f"{this}: {self.task.monitor} {shown(value)}; the best is trial {best.user_attrs[RUN]}")
        elif pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            _say(f"{this}: pruned, as it is behind the others")
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            _say(f"{this}: failed with exit code {code}")
        return 0

    def _name(self, number: int) -> str:
        """Of a run."""
        return f"tune-{self.folder.name}-{number:03d}"

    def _report(self, trial: Trial, folder: Path) -> bool:
        """Tells Optuna a run's validations by their number. Returns whether the trial is to be pruned."""
        path, known = folder / "metrics.jsonl", self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n") and f'"{self.task.monitor}"' in line]
        for i, entry in enumerate(entries):
            value = entry[self.task.monitor]
            if i not in known and value is not None:
                trial.report(value, i)
        return bool(entries) and trial.should_prune()

    def conclude(self, command: Sequence[str]) -> list[str]:
        """Writes what has been found; returns what the terminal shows of it. command: that trains with a config.

        Raises RunError where no trial has got to its end.
        """
        with self.lock:
            trials = self._trials()
            done = {self._name(number): trial for number, trial in trials.items() if trial.state.is_finished()}
            place = "/".join((*self.runs.parts[-3:], self._name(0).removesuffix("000")))
            found = {run.folder.name: run for run in runs.find(Path(self.config.run_dir), [place])}
            order = sorted(done.keys() & found, key=lambda name: (self._rank(done[name]), name))
            lines = runs.table([replace(found[name], state=STATES.get(done[name].state, "finished")) for name in order])
            lines.append("")
            if elsewhere := len(trials) - len(done):
                lines.append(f"{elsewhere} trials are other workers': the last of them tells what was found\n")
            completed = [trial for trial in done.values() if trial.state == TrialState.COMPLETE]
            result: dict[str, Any] = {"trials": len(done), "completed": len(completed)}
            if not completed:
                write_result(self.folder, self.config.framework, result)
                if elsewhere:
                    return lines
                raise RunError(f"{self.folder}: none of {len(done)} trials of {self.config.framework} got to its end")
            best = self.study.best_trial
            number = best.user_attrs[RUN]
            file, image = (self.folder / f"{self.config.framework}.{end}" for end in ("yaml", "png"))
            told = f"{self.task.monitor} {shown(best.value or 0.0)}, the best of {len(done)} trials"
            text = yaml.safe_dump(_nested(best.params), sort_keys=False)
            head = f"# {told}: run {self._name(number)}.\n# {shlex.join([*command, '--config', str(file)])}\n"
            write_text(file, head + text)
            title = f"{self.config.task}/{self.config.preset or 'default'}, {self.config.framework}: {told}"
            picture.draw(image, self.study, self.task, list(self.space), title)
            result |= {"best": self._name(number), self.task.monitor: best.value, "settings": best.params}
            write_result(self.folder, self.config.framework, result)
            return [*lines, *(head + text).splitlines(), "", f"Config: {file}", f"Picture: {image}"]

    def _rank(self, trial: FrozenTrial) -> float:
        """The best first."""
        return math.inf if trial.value is None else trial.value * (1 if self.task.mode == "min" else -1)


def _suggest(trial: Trial, key: str, values: Any) -> None:
    if isinstance(values, list):
        trial.suggest_categorical(key, values)
    elif isinstance(values["low"], int):
        trial.suggest_int(key, values["low"], values["high"], step=values["step"] or 1, log=values["log"])
    else:
        trial.suggest_float(key, values["low"], values["high"], step=values["step"], log=values["log"])


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return found


def _cut(journal: Path) -> None:
    """A last line that was cut short, which Optuna would not read once another one follows it."""
    if journal.exists() and not (text := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
