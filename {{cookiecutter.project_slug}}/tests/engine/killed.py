"""`python killed.py MOMENT WHEN COUNT train ...`: dies of SIGKILL the COUNT-th time that it comes to MOMENT.

WHEN: before or after what happens there.
"""

import os
import signal
import sys

from {{cookiecutter.package_name}}.engine import processes, progress, run, session
from {{cookiecutter.package_name}}.engine.commands import main

MOMENTS = {
    "step": (progress.Progress, "advance"),
    "log": (run.Run, "log"),
    "validation": (session.Session, "measured"),
    "save": (processes.Processes, "wait"),  # around the writing of a checkpoint
    "rename": (os, "replace"),
    "cut": (run.tensorboard, "cut"),  # once, where it goes on
    "remove": (run, "_remove"),
}


def die(moment, when, count):
    owner, name = MOMENTS[moment]
    real, left = getattr(owner, name), [int(count)]

    def watched(*args, **kwargs):
        left[0] -= 1
        if not left[0] and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = real(*args, **kwargs)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(owner, name, watched)


if __name__ == "__main__":
    die(*sys.argv[1:4])
    sys.argv = [sys.argv[0], *sys.argv[4:]]
    sys.exit(main())
