"""From a finished run to a model that every page offers: copied, calibrated, described, and only then in its place.

Where the training patches are at hand, what is unlike them is learned too.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from core.bundle import DESCRIPTION, WEIGHTS, read_description, write_description
from core.data.pcam import Split
from core.errors import DataError, OutputError, TrainingError
from core.evaluation.card import model_card
from core.evaluation.report import Progress, calibrate
from core.evaluation.strangers import familiarise
from core.files import write_text
from core.inference import load_reader
from core.training.runs import NAME, Run

SEEN = "holds patches the run learned from"
"""Note on a calibration that is not on patches of its own."""


def promote(
    run: Run,
    name: str,
    split: Split,
    models: Path,
    progress: Progress,
    *,
    version: str = "1.0.0",
    replace: bool = False,
) -> Path:
    """Make a run's bundle a model under `models`, calibrated on a split; returns its folder.

    All is made in a folder that no page looks into, so that nobody meets half a model.

    Args:
        run: a finished one.
        name: of the model.
        split: validation patches.
        models: folder with model bundles.
        progress: called with patches done and patches in all, for each pass.
        version: of the bundle.
        replace: take the place of a model of that name.

    Raises:
        TrainingError: the run is not finished, or the name cannot be one.
        OutputError: a model of that name is there, or the disk is full.
    """
    if run.model is None:
        raise TrainingError(f"The run '{run.name}' is not finished; there is no model to promote yet.")
    if not NAME.fullmatch(name):
        raise TrainingError(f"'{name}' is no name for a model; use letters, digits, '-', '_' and '.'.")
    target = models / name
    if target.exists() and not replace:
        raise OutputError(target, "a model of that name is there; choose another name, or replace it")
    description = read_description(run.model)
    trained_on = description.training.data[:1]
    try:
        models.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=models, prefix=f".{name}.", ignore_cleanup_errors=True) as staging:
            folder = Path(staging) / name
            folder.mkdir()
            shutil.copyfile(run.model / WEIGHTS, folder / WEIGHTS)
            write_description(folder, description.model_copy(update={"name": name, "version": version}))
            reader = load_reader(folder)
            calibrated = calibrate(reader, split, progress)
            if calibrated.calibrated_on and any(d.fingerprint == split.fingerprint() for d in trained_on):
                note = "; ".join(filter(None, (calibrated.calibrated_on.note, SEEN)))
                record = calibrated.calibrated_on.model_copy(update={"note": note})
                calibrated = calibrated.model_copy(update={"calibrated_on": record})
            with suppress(DataError):  # nobody has to have the training patches
                calibrated = familiarise(reader, calibrated, split, progress)
            write_description(folder, calibrated)
            write_text(folder / "CARD.md", model_card(calibrated))
            if (target / DESCRIPTION).exists():
                target.rename(Path(staging) / "replaced")
            folder.rename(target)
    except OSError as error:
        raise OutputError(target, os.strerror(error.errno or 0).lower()) from error
    return target
