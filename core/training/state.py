"""Where a run stands, in memory and in its checkpoint."""

from __future__ import annotations

import math
import pickle
import re
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import torch
from timm.utils import ModelEmaV3

from core.errors import TrainingError
from core.files import atomic_path
from core.models.nets import PatchNet
from core.training.distributed import ProcessGroup
from core.training.runs import CHECKPOINT, Fact, Run
from core.training.tensorboard import TensorBoardWriter


class State:
    """Where a run stands, on the processes that train it and on disk."""

    def __init__(
        self,
        run: Run,
        group: ProcessGroup,
        net: PatchNet,
        ema: ModelEmaV3 | None,
        tensorboard: TensorBoardWriter | None,
    ) -> None:
        self.run, self.group, self.net, self.tensorboard = run, group, net, tensorboard
        self.average: PatchNet | None = ema.module if ema else None
        self.cycle = self.step = self.taken = 0
        """The cycle, steps taken in it, and steps taken in all."""
        self.losses: list[float] = []
        """Of the epoch so far."""

    def count(self, loss: float) -> None:
        """One step more; raises TrainingError when its loss is no number."""
        self.step, self.taken = self.step + 1, self.taken + 1
        self.losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is not a number any more at step {self.step} of cycle {self.cycle + 1}. "
                "Train with a lower peak learning rate."
            )

    def save(self, optimiser: torch.optim.Optimizer | None = None, finished: bool = False) -> None:
        """Write the checkpoint, whole or not at all."""
        if not self.group.is_main:
            return
        checkpoint = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "cycle": self.cycle,
            "step": self.step,
            "taken": self.taken,
            "losses": self.losses,
            "history": self.run.history_size(),
            "finished": finished,
        }
        if optimiser is not None:
            checkpoint["optimiser"] = optimiser.state_dict()
        content = BytesIO()
        torch.save(checkpoint, content)  # straight to a file, it would hide why the disk refused
        with atomic_path(self.run.folder / CHECKPOINT) as path:
            path.write_bytes(content.getbuffer())

    def load(self) -> dict[str, Any]:
        """Go on where the checkpoint stands; returns it, empty at a first start."""
        saved: dict[str, Any] = self.group.broadcast(self._read() if self.group.is_main else None)
        if saved:
            self.net.load_state_dict(saved["net"])
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
            self.cycle, self.step, self.taken = saved["cycle"], saved["step"], saved["taken"]
            self.losses = saved["losses"]
        if self.group.is_main and not saved.get("finished"):
            self.run.rewind_history(saved.get("history", 0))
        return saved

    def tell(self, **fact: Any) -> Fact:
        """Keep a fact; the process that leads, which has a tensorboard, writes it."""
        fact["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        if self.tensorboard is not None:
            self.run.append(fact)
            self.tensorboard.write(fact, self.taken)
        return fact

    def _read(self) -> dict[str, Any]:
        path = self.run.folder / CHECKPOINT
        if not path.is_file():
            return {}
        try:
            saved = dict(torch.load(path, map_location="cpu", weights_only=True))
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"The checkpoint of '{self.run.name}' is damaged; start a new run.") from error
        return {part: _in_words_of_today(state) for part, state in saved.items()}


def _in_words_of_today(state: Any) -> Any:
    """A state dict of a run begun when the feature projection was called `translator`."""
    if not isinstance(state, dict):
        return state
    return {re.sub("^translator[.]", "feature_projection.", str(name)): value for name, value in state.items()}
