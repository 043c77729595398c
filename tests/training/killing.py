"""Trains a run in children that are killed at random moments: a process of its own, without threads, so that it forks.

`python -m tests.training.killing RUN KILLS SEED`: prints how many were killed, and how many of them while they wrote a
checkpoint; then trains the run to its end.
"""

import os
import random
import signal
import sys
import time
from collections import deque
from pathlib import Path

import torch

from core.training.launch import opener
from core.training.loop import fit
from core.training.runs import CHECKPOINT, Run

PARTS = f".{CHECKPOINT}.*.part"


def main(folder, kills, seed):
    torch.set_num_threads(1)
    run = Run.open(Path(folder))
    draw = random.Random(seed)
    killed = writing = 0
    while killed < kills:
        child = start(run)
        wait_for = draw.choice(["start", "checkpoint", "write", "write"])
        if wait_for == "start":
            time.sleep(draw.uniform(0, 0.3))
        else:
            before = stamp(run)
            until(child, lambda before=before: stamp(run) != before)
            if wait_for == "write":
                until(child, lambda: any(run.folder.glob(PARTS)))
            else:
                time.sleep(draw.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        writing += any(run.folder.glob(PARTS))
        if run.status == "finished":
            break
    print(killed, writing)
    sys.exit(os.waitpid(start(run), 0)[1])


def start(run):
    child = os.fork()
    if child == 0:
        deque(fit(run, opener(run.config)), maxlen=0)
        os._exit(0)
    return child


def until(child, happened):
    while not happened() and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0002)


def stamp(run):
    path = run.folder / CHECKPOINT
    return path.stat().st_ino if path.exists() else None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
