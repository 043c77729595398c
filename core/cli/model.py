"""`model ...`: bundles are made, calibrated, described and promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli.options import DataFolder, ModelName, Replace, SplitName, TaskFile, VersionText, model_app
from core.cli.terminal import into, progress
from core.errors import NodeLensError
from core.files import write_text
from core.settings import settings
from core.task import PCAM, PCAM_MEAN, PCAM_STD, read_task


@model_app.command("prepare", epilog="Example: python -m core model prepare")
def prepare() -> None:
    """Compile every installed model for this processor, so that the app starts fast."""
    from core.inference import load_reader
    from core.models.store import bundle_names

    for name in bundle_names(settings().models):
        engine = load_reader(name).engine
        print(f"{name}: {engine.name} ready")


@model_app.command(
    "import", epilog="Example: python -m core model import start.safetensors --name mine --recipe 'one cycle'"
)
def import_model(
    weights: Annotated[Path, typer.Argument(help="State dict of the architecture: .safetensors, .pth, .pt, .ckpt.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")],
    recipe: Annotated[str, typer.Option(help="How the weights were trained, in a sentence or two.")],
    architecture: Annotated[
        str, typer.Option(help="densenet169, resnet50, efficientnet_lite0_unpadded, ...")
    ] = "densenet169",
    version: VersionText = "1.0.0",
    mean: Annotated[tuple[float, float, float], typer.Option(help="Grey levels per channel.")] = PCAM_MEAN,
    std: Annotated[tuple[float, float, float], typer.Option(help="Grey levels per channel.")] = PCAM_STD,
    data: Annotated[Path | None, typer.Option(help="Folder with the split it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="Split it was trained on, when --data is given.")] = "train",
    task: TaskFile = None,
    replace: Replace = False,
) -> None:
    """Make a bundle of weights trained elsewhere; calibrate it next.

    Two logits, the positive class (PCam's: tumour) the second, or the one logit of it. The task is that of --task, else
    of the data. Names may stand behind a prefix such as `module.`, and
    the state dict beside other things in a checkpoint. Nothing in the file is executed.
    """
    from core.data.pcam import Split
    from core.evaluation.report import record_of
    from core.models.schema import Training
    from core.models.store import check_model_name

    models = settings().models
    check_model_name(name, models, replace=replace)  # before torch is loaded
    from core.models.nets import net_of_weights, save_bundle
    from core.training.promote import new_model

    learned = Split.open(data, split) if data else None
    asked = read_task(task) if task else learned.task if learned else PCAM
    if learned:
        learned.require(asked)
    with new_model(name, models, replace=replace) as folder:
        save_bundle(
            net_of_weights(weights, architecture, mean, std),
            folder,
            version=version,
            mean=mean,
            std=std,
            training=Training(recipe=recipe, data=(record_of(learned),) if learned else ()),
            task=asked,
        )
    print(f"{models / name}: calibrate it with `python -m core model calibrate {name}`")


@model_app.command("calibrate", epilog="Example: python -m core model calibrate densenet169 --data data/pcam")
def calibrate(
    model: ModelName,
    data: DataFolder,
    split: SplitName = "valid",
) -> None:
    """Fit calibration, threshold, refer band and colour scales on a validation split, through the served pipeline.

    Where the data has a train split, what is unlike it is learned too, as by `model fit-ood`.
    """
    from core.data.pcam import Split
    from core.errors import DataError
    from core.evaluation.ood import fit_ood_detector
    from core.evaluation.report import calibrate as run
    from core.inference import load_reader
    from core.models.store import write_description

    reader, valid = load_reader(model), Split.open(data, split)
    with progress("calibrate", "patch") as bar:
        bundle = run(reader, valid, into(bar))
        try:
            bundle = fit_ood_detector(reader, bundle, valid, into(bar))
        except DataError as error:
            print(f"{error} What is unlike training tissue was not learned.")
    write_description(reader.stored.folder, bundle)
    card(model)


@model_app.command(
    "judge-calibration", epilog="Example: python -m core model judge-calibration densenet169 --data data/pcam"
)
def judge_calibration(
    model: ModelName,
    data: DataFolder,
    split: SplitName = "valid",
    one_view: Annotated[
        bool, typer.Option("--one-view", help="Of one view alone; eight take eight times as long.")
    ] = False,
) -> None:
    """Compare ways to calibrate, and guarantees with what serves, in the model's card; nothing that serves is changed.

    The split is the one that the model was calibrated on. `evaluate --record` tells what happened elsewhere.
    """
    from core.data.pcam import Split
    from core.evaluation.report import judge_calibration as run
    from core.inference import load_reader
    from core.models.store import write_description

    reader = load_reader(model)
    with progress("judge-calibration", "patch") as bar:
        bundle = run(reader, Split.open(data, split), into(bar), (1,) if one_view else (1, 8))
    write_description(reader.stored.folder, bundle)
    card(model)


@model_app.command("familiar", hidden=True)
@model_app.command("fit-ood", epilog="Example: python -m core model fit-ood densenet169 --data data/pcam")
def fit_ood(
    model: ModelName,
    data: DataFolder,
    split: SplitName = "valid",
) -> None:
    """Learn what training tissue looks like, so that patches unlike it are flagged; nothing else is changed.

    Learned from the train split. The split named sets the limit: at most 4 % of its patches lie beyond it, at the upper
    end of the interval over slides.
    """
    from core.data.pcam import Split
    from core.evaluation.ood import fit_ood_detector
    from core.inference import load_reader
    from core.models.store import detector_file, write_description

    reader = load_reader(model)
    with progress("fit-ood", "patch") as bar:
        bundle = fit_ood_detector(reader, reader.model, Split.open(data, split), into(bar))
    write_description(reader.stored.folder, bundle)
    print(f"{detector_file(reader.stored.folder)} written")
    card(model)


@model_app.command("trial", epilog="Example: python -m core model trial densenet169 runs/no-stain --what 'no stain'")
def trial(
    model: Annotated[str, typer.Argument(help="Name under models/ whose card is to tell of it.")],
    other: Annotated[str, typer.Argument(help="Name or folder of the model that was trained another way.")],
    what: Annotated[str, typer.Option(help="What was different.")],
    data: DataFolder,
    split: SplitName = "valid",
    tta: Annotated[bool, typer.Option("--tta/--one-view", help="Mean over eight flips and turns, or one view.")] = True,
) -> None:
    """Measure another way to train and tell of it in a model's card."""
    from core.data.pcam import Split
    from core.evaluation.report import evaluate as run
    from core.inference import load_reader
    from core.models.schema import Trial
    from core.models.store import bundle_folder, read_description, write_description

    with progress("trial", "patch") as bar:
        measured, _ = run(load_reader(other), Split.open(data, split), 8 if tta else 1, into(bar))
    figures = {name: measured.figures[name] for name in ("auc", "accuracy")}
    found = Trial(what=what, split=split, views=measured.views, figures=figures)
    folder = bundle_folder(model, settings().models)
    bundle = read_description(folder)
    same = (what, split, measured.views)
    trials = (*(t for t in bundle.training.trials if (t.what, t.split, t.views) != same), found)
    training = bundle.training.model_copy(update={"trials": trials})
    write_description(folder, bundle.model_copy(update={"training": training}))
    card(model)


@model_app.command("promote", epilog="Example: python -m core model promote runs/first --name mine --data data/pcam")
def promote_run(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    data: Annotated[Path | None, typer.Option("--data", help="Folder with the split; else the run's.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split to calibrate on; else the run's.")] = None,
    version: VersionText = "1.0.0",
    replace: Replace = False,
) -> None:
    """Make a finished run a model that every page offers: calibrated on validation patches, with its card."""
    from core.data.pcam import Split
    from core.models.store import read_description
    from core.training.launch import opener
    from core.training.promote import promote
    from core.training.runs import Run

    trained = Run.open(run)
    if split is None and trained.config.holdout == "random":
        raise NodeLensError("The run validated on a random tenth of its training patches: name a --split.")
    wanted = split or trained.config.valid_split
    opened = Split.open(data, wanted) if data else opener(trained.config)(wanted)
    with progress("calibrate", "patch") as bar:
        folder = promote(trained, name, opened, settings().models, into(bar), version=version, replace=replace)
    if read_description(folder).ood is None:
        print(f"Without enough training patches beside '{opened.name}', what is unlike them was not learned.")
    print(f"{folder}: {name} {version}")


@model_app.command("card", epilog="Example: python -m core model card densenet169")
def card(model: ModelName) -> None:
    """Write CARD.md from the bundle."""
    from core.evaluation.card import model_card
    from core.models.store import CARD, bundle_folder, read_description

    folder = bundle_folder(model, settings().models)
    write_text(folder / CARD, model_card(read_description(folder)))
    print(f"{folder / CARD} written")
