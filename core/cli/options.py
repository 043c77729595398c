"""The command line's groups, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core.settings import settings

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
_MODEL = "Name under models/, or path of a bundle."
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help=_MODEL,
        default_factory=lambda: settings().model,
        show_default="NODELENS_MODEL, else densenet169",
    ),
]
ModelName = Annotated[str, typer.Argument(help=_MODEL)]
EngineName = Annotated[str, typer.Option("--engine", help="auto, torch or openvino.")]
PixelSize = Annotated[
    float | None,
    typer.Option("--um-per-px", help="Micrometres per pixel of all pictures; else what a file says, or the task's."),
]
_DATA: dict[str, Any] = {"default_factory": lambda: settings().data, "show_default": "NODELENS_DATA, else data/pcam"}
DataFolder = Annotated[Path, typer.Option("--data", help="Folder with imported or official files.", **_DATA)]
NewData = Annotated[Path, typer.Option("--out", help="Folder for the files.", **_DATA)]
JsonFile = Annotated[Path, typer.Option("--out", help="JSON file to write.")]
TaskFile = Annotated[
    Path | None, typer.Option("--task", help="JSON file that defines what patches are read for; else PCam.")
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
