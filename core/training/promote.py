"""From a finished run to a model that every page offers: copied, calibrated, described, and only then in its place.

Where the training patches are at hand, what is unlike them is learned too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.data.pcam import Split
from core.errors import SplitNotFoundError, TooFewPatchesError, TrainingError
from core.evaluation.card import model_card
from core.evaluation.ood import fit_ood_detector
from core.evaluation.report import Progress, calibrate
from core.files import atomic_folder, write_text
from core.inference import load_reader
from core.models.store import CARD, WEIGHTS, check_model_name, read_description, write_description
from core.training.runs import Run


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

    Args:
        run: a finished one.
        name: of the model.
        split: validation patches.
        models: folder with model bundles.
        progress: called with patches done and patches in all, for each pass.
        version: of the bundle.
        replace: take the place of a model of that name.

    Raises:
        TrainingError: the run is not finished.
        ModelNameError: the name cannot be one, or a model of that name is there.
        ModelValueError: the version cannot be one.
        CalibrationError: the patches cannot be calibrated on.
        DataError: the training patches that lie beside the split are damaged.
        OutputError: the disk is full.
    """
    if run.model is None:
        raise TrainingError(f"The run '{run.name}' is not finished; there is no model to promote yet.")
    check_model_name(name, models, replace=replace)
    description = read_description(run.model).changed(name=name, version=version)
    with new_model(name, models, replace=replace) as folder:
        shutil.copyfile(run.model / WEIGHTS, folder / WEIGHTS)
        write_description(folder, description)
        reader = load_reader(folder)
        calibrated = calibrate(reader, split, progress)
        with suppress(SplitNotFoundError, TooFewPatchesError):  # nobody has to have the training patches
            calibrated = fit_ood_detector(reader, calibrated, split, progress)
        write_description(folder, calibrated)
    return models / name


@contextmanager
def new_model(name: str, models: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a folder to make a bundle in; it becomes the model of that name, with its card, when the block ends well.

    All is made in a folder that no page looks into, so that nobody meets half a model, and nothing of a model that is
    replaced stays beside the new one.

    Raises:
        ModelNameError: the name cannot be one, or a model of that name is there and is not to be replaced.
        OutputError: the disk is full.
    """
    check_model_name(name, models, replace=replace)
    with atomic_folder(models / name, replace=replace) as folder:
        yield folder
        write_text(folder / CARD, model_card(read_description(folder)))
