"""TensorBoard event files beside the history, for those who look there: `tensorboard --logdir runs`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from core.errors import OutputError

SHOWN = ("rate", "first_rate", "momentum", "loss", "speed", "train_loss", "valid_loss", "accuracy", "auc")


class TensorBoardWriter:
    """Scalars of one run's facts over its steps; the file is made at the first, and follows those of earlier starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def write(self, fact: dict[str, Any], step: int) -> None:
        """Show what a fact says at a step, counted over all cycles; raises OutputError."""
        values = [Summary.Value(tag=name, simple_value=fact[name]) for name in SHOWN if name in fact]
        if not values:
            return
        try:
            if self._writer is None:
                self._writer = EventsWriter(str(self.folder / "events"), filename_suffix=f".{time.time_ns()}")
                # What an earlier start wrote from this step on is hidden: it was after its last checkpoint.
                self._add(step, session_log=SessionLog(status=SessionLog.START))
            self._add(step, summary=Summary(value=values))
            self._writer.flush()
        except OSError as error:
            raise OutputError(self.folder, os.strerror(error.errno or 0).lower()) from error

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
