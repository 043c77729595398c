"""The command line: thin words around the functions that the pages call too.

Every command ends with exit code 2 and one line on stderr when the input is at fault.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from core.errors import NodeLensError, OutputError, printable
from core.explain.registry import METHODS
from core.files import atomic_path, write_text
from core.logs import configure as configure_logs
from core.settings import settings

if TYPE_CHECKING:
    from core.data.sources import Item
    from core.training.config import TrainConfig
    from core.training.lr_range import RangeCurve

BENCHES = ("explain", "evidence", "browse", "start", "load", "endurance", "score", "train")

app = typer.Typer(
    help="NodeLens on the command line: read patches, explain readings, judge models. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Bring patches in.", no_args_is_help=True)
model_app = typer.Typer(help="Make and describe model bundles.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(model_app, name="model")

Replace = Annotated[bool, typer.Option("--replace", help="Take the place of the model of that name, as a whole.")]
VersionText = Annotated[str, typer.Option("--version", help="Version of the bundle.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="Name under models/, or path of a bundle.",
        default_factory=lambda: settings().model,
        show_default="NODELENS_MODEL, else densenet169",
    ),
]
EngineName = Annotated[str, typer.Option("--engine", help="auto, torch or openvino.")]
PixelSize = Annotated[
    float | None,
    typer.Option("--um-per-px", help="Micrometres per pixel of all pictures; else what a file says, or 0.97."),
]
DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Folder with official PCam files.",
        default_factory=lambda: settings().data,
        show_default="NODELENS_DATA, else data/pcam",
    ),
]
NewData = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Folder for the official files.",
        default_factory=lambda: settings().data,
        show_default="NODELENS_DATA, else data/pcam",
    ),
]
SplitName = Annotated[str, typer.Option("--split", help="train, valid, test, demo, ...")]
ConfigFile = Annotated[
    Path | None, typer.Argument(help="JSON file, or folder of a model to train again; else --preset.")
]
PresetName = Annotated[
    str | None,
    typer.Option(help="default, refine, local, study, study-official, smoke; a run that is there goes on as it began."),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change one value, as in --set batch=32; again for more.")
]


def main() -> None:
    """Run the command line; a person's mistake ends in one line and exit code 2."""
    try:
        configure_logs(settings().log)
        app()
    except NodeLensError as error:
        print(f"nodelens: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nodelens: stopped.", file=sys.stderr)
        sys.exit(130)


@app.command(epilog="Example: python -m core score patches/ --out scores.csv --tta")
def score(
    inputs: Annotated[list[Path], typer.Argument(help="Folders, images, zips of images or PCam HDF5 files.")],
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")],
    model: Model,
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    um_per_px: PixelSize = None,
    engine: EngineName = "auto",
) -> None:
    """Read many patches into a CSV: id,probability,logit,verdict,flags,notes.

    `id` is the path inside the folder or zip without the file ending, the name of an image, or the row number; where
    two inputs share an id, the name of the input stands before it. An image that is refused keeps its row, with the
    verdict 'refused' and the reason under flags. `notes` say what was done to a picture before it was read. When
    nothing at all could be read, no file is written. An id that a spreadsheet would take for a formula stands behind
    an apostrophe.
    """
    from core.data.sources import check_inputs, count_items, items
    from core.data.tables import csv_cell
    from core.inference import load_reader

    paths = check_inputs(inputs, um_per_px)
    reader = load_reader(model, engine)
    views = 8 if tta else 1
    read, refusals, changed = 0, [], []
    with atomic_path(out) as part, _progress("score", "patch") as bar:
        bar.total = count_items(paths)
        with part.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("id", "probability", "logit", "verdict", "flags", "notes"))
            for group in _batches(items(paths, um_per_px), reader.engine.batch):
                patches = [item.patch for item in group if item.patch is not None]
                readings = reader.read(np.stack(patches), views=views) if patches else None
                position = 0
                for item in group:
                    if item.patch is None or readings is None:
                        refusals.append(f"{item.id}: {item.refusal}")
                        writer.writerow((csv_cell(item.id), "", "", "refused", csv_cell(str(item.refusal)), ""))
                        continue
                    if item.changes:
                        changed.append(f"{item.id}: {' '.join(item.changes)}")
                    writer.writerow(
                        (
                            csv_cell(item.id),
                            f"{readings.probability[position]:.6f}",
                            f"{readings.logit[position]:.6f}",
                            readings.verdict[position],
                            ";".join(readings.flags[position]),
                            " ".join(item.notes),
                        )
                    )
                    position += 1
                read += position
                bar.update(len(group))
        if read == 0:
            raise NodeLensError(refusals[0] if refusals else "There is no patch in the input.")
    if refusals:
        print(f"nodelens: {len(refusals)} of {read + len(refusals)} refused; first: {refusals[0]}", file=sys.stderr)
    _tell_changed(changed)


@app.command(epilog="Example: python -m core explain patch.png --out explained --layer 6x6 --method layercam")
def explain(
    image: Annotated[Path, typer.Argument(help="One 96 x 96 patch.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    model: Model,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "gradcam",
    layer: Annotated[
        str | None,
        typer.Option(help="last, 6x6 or 12x12 for the CAM family; input for the others.", show_default="last"),
    ] = None,
    target: Annotated[str, typer.Option(help="predicted, tumour, normal or 'tumour minus normal'.")] = "predicted",
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    um_per_px: PixelSize = None,
    engine: EngineName = "auto",
) -> None:
    """Explain one reading: map.npy (h, w) float32 in the method's unit, overlay.png, explanation.json."""
    from core.data.sources import check_inputs, items
    from core.inference import load_reader
    from core.view.export import as_picture, as_record
    from core.view.overlay import png

    if image.is_dir():
        raise OutputError(image, "name one image, not a folder")
    item = next(items(check_inputs([image], um_per_px), um_per_px), None)
    if item is None or item.patch is None:
        raise (item and item.refusal) or NodeLensError(f"There is no patch in {image}.")
    with _progress("explain", "pass") as bar:
        readings = load_reader(model, engine).explain(
            item.patch, method, layer, target, views=8 if tta else 1, progress=_into(bar)
        )
    with atomic_path(out / "map.npy") as part, part.open("wb") as handle:
        np.save(handle, readings.attribution[0])
    with atomic_path(out / "overlay.png") as part:
        part.write_bytes(png(as_picture(item.patch, readings, 0, notes=item.notes)))
    _write_json(out / "explanation.json", as_record(readings, 0, item.id, item.notes))
    print(f"{item.id}: {readings.verdict[0]}, probability {readings.probability[0]:.3f}; see {out}")
    _tell_changed([f"{item.id}: {' '.join(item.changes)}"] if item.changes else [])


@app.command(epilog="Example: python -m core evaluate --data data/pcam --split test --out report.json")
def evaluate(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    data: DataFolder,
    model: Model,
    split: SplitName = "valid",
    tta: Annotated[bool, typer.Option("--tta", help="Mean over eight flips and turns.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Keep the figures in the bundle and its card.")] = False,
    engine: EngineName = "auto",
) -> None:
    """Classification and calibration on a split, each figure with a 95 % bootstrap interval."""
    from core.data.pcam import Split
    from core.evaluation.card import interval_text
    from core.evaluation.report import evaluate as run
    from core.evaluation.report import with_evaluation
    from core.inference import load_reader
    from core.models.bundle import write_description

    reader = load_reader(model, engine)
    with _progress("evaluate", "patch") as bar:
        evaluation, report = run(reader, Split.open(data, split), 8 if tta else 1, _into(bar))
    _write_json(out, report)
    for name, interval in evaluation.figures.items():
        print(f"{name:22} {interval_text(interval)}")
    if record:
        write_description(reader.stored.folder, with_evaluation(reader.model, evaluation))
        card(model)


@app.command(epilog="Example: python -m core evidence --data data/pcam --split valid --out evidence.json")
def evidence(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    data: DataFolder,
    model: Model,
    split: SplitName = "valid",
    sample: Annotated[int, typer.Option(help="Patches, half of them tumour.", min=20, max=100_000)] = 1000,
    regions: Annotated[Path | None, typer.Option(help="Folder of regions with masks: NAME.jpg, NAME_mask.png.")] = None,
    ood: Annotated[
        Path | None,
        typer.Option(
            "--ood",
            "--strangers",
            help="Folder of pictures that the model should not know; a name begins with its kind.",
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="METHOD/LAYER instead of the usual nine, as in layercam/last; again for more."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the report with the model.")] = False,
    engine: EngineName = "auto",
) -> None:
    """How far a model's maps can be believed: every measure with chance, baselines and 95 % intervals.

    What is done is kept under the cache folder, so that the same command goes on where it was stopped.
    """
    from core.data.pcam import Split
    from core.evaluation.explanations.runner import Examination, chosen_methods
    from core.evaluation.explanations.stage import METHODS
    from core.evaluation.schema import EVIDENCE, Plan
    from core.inference import load_reader
    from core.view.narrative import answer

    reader = load_reader(model, engine)
    plan = Plan(sample=sample, methods=chosen_methods(methods or METHODS, reader))
    with _progress("evidence", "patch") as bar:

        def tell(stage: str, done: int, total: int) -> None:
            bar.set_description(f"evidence: {stage}")
            _into(bar)(done, total)

        examination = Examination(reader, Split.open(data, split), plan, regions, tell, ood)
        report = examination.run(settings().cache)
    text = report.model_dump_json(indent=2) + "\n"
    write_text(out, text)
    if record:
        write_text(reader.stored.folder / EVIDENCE, text)
    for line in answer(report):
        print(line.text)


@app.command(epilog="Example: python -m core train --preset smoke --out runs/first")
def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an existing run is resumed.")],
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
) -> None:
    """Train a network with one-cycle schedules; Ctrl-C saves and stops, the same command goes on.

    `torchrun --nproc-per-node 2 -m core train ...` trains with two processes.
    """
    from core.training.launch import chosen_config, is_main, opener, stop_on_signals
    from core.training.loop import fit
    from core.training.runs import Run

    run = Run.create(out, chosen_config(out, config, preset, changes or []))
    stopped = stop_on_signals()
    with _progress(f"train {run.name}", "step") as bar:
        for fact in fit(run, opener(run.config), stopped):
            if fact["fact"] == "step":
                bar.total, bar.n = fact["steps"], fact["step"]
                bar.set_postfix(cycle=fact["cycle"] + 1, loss=f"{fact['loss']:.4f}", rate=f"{fact['rate']:.2g}")
            elif fact["fact"] == "epoch":
                bar.write(
                    f"cycle {fact['cycle'] + 1}, epoch {fact['epoch']:.3g}: train loss {fact['train_loss']:.4f}, "
                    f"valid loss {fact['valid_loss']:.4f}, accuracy {fact['accuracy']:.4f}, AUC {fact['auc']:.4f}",
                    file=sys.stdout,
                )
    if is_main():
        print(f"{run.folder}: {run.settled}")


@app.command(epilog="Example: python -m core lr-range --preset smoke --out range.json")
def lr_range(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; it grows while the test runs.")],
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
) -> None:
    """Learning-rate range test: the loss at ever higher rates on a fresh network, and two suggestions."""
    from core.training.launch import chosen_config

    chosen = chosen_config(out.parent, config, preset, changes or [])
    curves = _write_trial(out, chosen, (chosen.weight_decay,))
    for name in ("steepest", "valley"):
        rate = getattr(curves[-1], name)
        print(f"{name:10} {f'{rate:.2e}' if rate else 'the loss never falls'}")


@app.command("compare-decay", epilog="Example: python -m core compare-decay --decay 1e-2 --decay 1e-4 --out decay.json")
def decay(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; it grows while the test runs.")],
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
    decays: Annotated[
        list[float] | None, typer.Option("--decay", help="A weight decay; again for more. Default: 1e-2, 1e-4, 1e-6.")
    ] = None,
) -> None:
    """Compare weight decays: a range test on a fresh network for each."""
    from core.training.launch import chosen_config
    from core.training.lr_range import DECAYS

    chosen = chosen_config(out.parent, config, preset, changes or [])
    for curve in _write_trial(out, chosen, tuple(decays or DECAYS)):
        lowest = f"{min(curve.smoothed):.4f}" if curve.smoothed else "none"
        print(f"weight decay {curve.weight_decay:<8g} lowest smoothed loss {lowest}, {curve.ended}")


@app.command(epilog="Example: python -m core bench explain --out explain.json")
def bench(
    what: Annotated[str, typer.Argument(help="explain, evidence, browse, start, score, load, endurance or train.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    keep: Annotated[bool, typer.Option("--keep", help="Also keep it in bench/results and renew RESULTS.md.")] = False,
) -> None:
    """Measure this project beside its peers in one run (needs requirements-bench.txt)."""
    if what not in BENCHES:
        raise NodeLensError(f"Unknown bench '{what}'. Known: {', '.join(BENCHES)}.")
    try:
        record = import_module(f"bench.{what}").run()
    except ModuleNotFoundError as error:
        raise NodeLensError(f"{error.name} is missing: pip install -r requirements-bench.txt") from error
    _write_json(out, record)
    for row in record["rows"]:
        print(f"{row['name']:24} batch {row['batch']:<7} {row['rate']:>10.3g} {row['unit']}")
    if keep:
        import_module("bench.report").keep(record)


@data_app.command("import", epilog="Example: python -m core data import downloads/pcam --out data/pcam")
def import_data(
    source: Annotated[Path, typer.Argument(help="Folder of zips, a zip, or a folder of labelled pictures.")],
    out: NewData,
    split: Annotated[
        str, typer.Option("--split", help="Name of the split; else what the source says, or its own name.")
    ] = "",
    um_per_px: PixelSize = None,
) -> None:
    """Turn labelled pictures into official PCam HDF5 files.

    Labels are read from a table beside the pictures (label, and file or id; row where it is known), as in the Kaggle
    copy of PCam, or from folders named 0 and 1, or normal and tumour.
    """
    from core.data.imports import import_all
    from core.data.intake import check_pixel_size

    if um_per_px is not None:
        check_pixel_size(um_per_px)
    with _progress("import", "patch") as bar:

        def show(name: str, done: int, total: int) -> None:
            bar.set_description(f"import {printable(name)}")
            _into(bar)(done, total)

        imported = import_all(source, out, show, split=split, um_per_px=um_per_px)
    print(f"{out}: " + ", ".join(f"{one.split} {one.patches:,}" for one in imported))
    _tell_changed([change for one in imported for change in one.changed])


@data_app.command("fetch", epilog="Example: python -m core data fetch --out data/pcam --split valid")
def fetch_data(
    out: NewData,
    split: Annotated[list[str] | None, typer.Option("--split", help="train, valid or test; again for more.")] = None,
) -> None:
    """Download the official PCam files (8.0 GB, 9.1 GB unpacked) and check them; goes on where it was cut.

    Without --split all three are fetched. A mirror is named by the environment variable NODELENS_PCAM_URL.
    """
    from core.data.download import fetch_split
    from core.data.pcam import SPLITS, Split

    for name in split or SPLITS:
        with _progress("fetch", "B") as bar:
            bar.unit_scale = True

            def show(file: str, done: int, total: int, bar: Any = bar) -> None:
                bar.set_description(file, refresh=False)
                if done < bar.n:  # the next file
                    bar.reset()
                bar.total = total
                bar.update(done - bar.n)

            fetch_split(name, out, show, settings().pcam_url)
        print(f"{out}: {name} {len(Split.open(out, name)):,}")


@data_app.command("demo", epilog="Example: python -m core data demo --out assets/demo --seed 7 --n 400")
def demo_data(
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
    seed: Annotated[int, typer.Option(help="Same seed, same patches.")] = 7,
    n: Annotated[int, typer.Option("--n", help="Number of patches.")] = 400,
) -> None:
    """Draw a synthetic split named 'demo', in PCam's format, with tumour masks."""
    from core.data.synthetic import write_demo

    with _progress("draw", "patch") as bar:
        write_demo(out, n=n, seed=seed, progress=_into(bar))
    print(f"{out}: demo {n:,} (synthetic, not tissue)")


@model_app.command("prepare", epilog="Example: python -m core model prepare")
def prepare() -> None:
    """Compile every installed model for this processor, so that the app starts fast."""
    from core.inference import load_reader
    from core.models.bundle import bundle_names

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
    architecture: Annotated[str, typer.Option(help="densenet169, densenet121, resnet50, ...")] = "densenet169",
    version: VersionText = "1.0.0",
    mean: Annotated[tuple[float, float, float], typer.Option(help="Grey levels per channel.")] = (178, 137, 176),
    std: Annotated[tuple[float, float, float], typer.Option(help="Grey levels per channel.")] = (60, 71, 57),
    data: Annotated[Path | None, typer.Option(help="Folder with the split it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="Split it was trained on, when --data is given.")] = "train",
    replace: Replace = False,
) -> None:
    """Make a bundle of weights trained elsewhere; calibrate it next.

    Two logits, tumour the second, or the one logit of tumour. Names may stand behind a prefix such as `module.`, and
    the state dict beside other things in a checkpoint. Nothing in the file is executed.
    """
    from core.data.pcam import Split
    from core.evaluation.report import record_of
    from core.models.bundle import Training, check_model_name

    models = settings().models
    check_model_name(name, models, replace=replace)  # before torch is loaded
    from core.models.nets import import_weights
    from core.training.promote import new_model

    trained_on = (record_of(Split.open(data, split)),) if data else ()
    with new_model(name, models, replace=replace) as folder:
        import_weights(
            weights,
            folder,
            architecture=architecture,
            version=version,
            mean=mean,
            std=std,
            training=Training(recipe=recipe, data=trained_on),
        )
    print(f"{models / name}: calibrate it with `python -m core model calibrate {name}`")


@model_app.command("calibrate", epilog="Example: python -m core model calibrate densenet169 --data data/pcam")
def calibrate(
    model: Annotated[str, typer.Argument(help="Name under models/, or path of a bundle.")],
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
    from core.models.bundle import write_description

    reader, valid = load_reader(model), Split.open(data, split)
    with _progress("calibrate", "patch") as bar:
        bundle = run(reader, valid, _into(bar))
        try:
            bundle = fit_ood_detector(reader, bundle, valid, _into(bar))
        except DataError as error:
            print(f"{error} What is unlike training tissue was not learned.")
    write_description(reader.stored.folder, bundle)
    card(model)


@model_app.command("familiar", hidden=True)
@model_app.command("fit-ood", epilog="Example: python -m core model fit-ood densenet169 --data data/pcam")
def fit_ood(
    model: Annotated[str, typer.Argument(help="Name under models/, or path of a bundle.")],
    data: DataFolder,
    split: SplitName = "valid",
) -> None:
    """Learn what training tissue looks like, so that patches unlike it are flagged; nothing else is changed.

    Learned from the train split; the split named sets the limit, which 5 % of its patches exceed.
    """
    from core.data.pcam import Split
    from core.evaluation.ood import fit_ood_detector
    from core.inference import load_reader
    from core.models.bundle import detector_file, write_description

    reader = load_reader(model)
    with _progress("fit-ood", "patch") as bar:
        bundle = fit_ood_detector(reader, reader.model, Split.open(data, split), _into(bar))
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
    from core.models.bundle import Trial, bundle_folder, read_description, write_description

    with _progress("trial", "patch") as bar:
        measured, _ = run(load_reader(other), Split.open(data, split), 8 if tta else 1, _into(bar))
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
    from core.models.bundle import read_description
    from core.training.launch import opener
    from core.training.promote import promote
    from core.training.runs import Run

    trained = Run.open(run)
    if split is None and trained.config.holdout == "random":
        raise NodeLensError("The run validated on a random tenth of its training patches: name a --split.")
    wanted = split or trained.config.valid_split
    opened = Split.open(data, wanted) if data else opener(trained.config)(wanted)
    with _progress("calibrate", "patch") as bar:
        folder = promote(trained, name, opened, settings().models, _into(bar), version=version, replace=replace)
    if read_description(folder).ood is None:
        print(f"Without enough training patches beside '{opened.name}', what is unlike them was not learned.")
    print(f"{folder}: {name} {version}")


@model_app.command("card", epilog="Example: python -m core model card densenet169")
def card(model: Annotated[str, typer.Argument(help="Name under models/, or path of a bundle.")]) -> None:
    """Write CARD.md from the bundle."""
    from core.evaluation.card import model_card
    from core.models.bundle import CARD, bundle_folder, read_description

    folder = bundle_folder(model, settings().models)
    write_text(folder / CARD, model_card(read_description(folder)))
    print(f"{folder / CARD} written")


def _write_trial(out: Path, config: TrainConfig, decays: tuple[float, ...]) -> tuple[RangeCurve, ...]:
    """Run a range test for each weight decay; the file holds every curve as far as it has come."""
    from core.training.launch import opener
    from core.training.lr_range import STEPS, compare_decay, record

    curves: tuple[RangeCurve, ...] = ()
    with _progress("range test", "step") as bar:
        bar.total = STEPS * len(decays)
        for curves in compare_decay(config, opener(config), decays):
            _write_json(out, record(config, decays, curves))
            bar.update(1)
    return curves


def _tell_changed(changed: Sequence[str]) -> None:
    """One line on stderr on pictures that were not read as they are."""
    if changed:
        was = "picture was" if len(changed) == 1 else "pictures were"
        print(f"nodelens: {len(changed):,} {was} changed to be read; first: {changed[0]}", file=sys.stderr)


def _batches(stream: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while group := list(islice(stream, size)):
        yield group


@contextmanager
def _progress(what: str, unit: str) -> Iterator[Any]:
    """A progress bar on a terminal; nothing elsewhere."""
    with tqdm(desc=what, unit=unit, disable=None, file=sys.stderr) as bar:
        yield bar


def _into(bar: Any) -> Any:
    def show(done: int, total: int) -> None:
        bar.total = total
        bar.n = done
        bar.refresh()

    return show


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
