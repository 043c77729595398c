"""The house: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").rglob("*.py"), *ROOT.glob("app.py")])

# The house from the ground up. A storey's rooms stand side by side and do not know one another. In a room each line is
# a rank: what it names may import from the lines before it, and from storeys below. A name stands for what lies beneath
# it too, unless that is named itself; "." is the package.
STOREYS: list[dict[str, list[str]]] = [
    {"core": [". errors"]},
    {"core": ["files kept locks logs settings"]},
    {"core": ["task line", "jobs"]},
    {
        "core.data": [
            ". archive chunks corruptions image_limits patch picture_statistics pixel_size pixels tables transforms",
            "flags pcam tiff",
            "download intake synthetic",
            "masks sources synthetic_slide",
            "labelled regions",
            "imports",
        ],
        "core.models": [
            ". calibration_curve ood receptive_field",
            "architectures unpadded",
            "schema",
            "store",
            "checkpoints",
            "nets",
        ],
    },
    {"core.explain": [". cam grid question", "masking pixels", "registry"]},
    {
        "core.inference": [
            "batcher engines.memory engines.precision verdict",
            "engines.torch_engine",
            "engines.openvino_engine",
            "engines engines.engine",
            "explainer",
            "regions",
            "reader",
            ". caching scores",
        ]
    },
    {
        "core.slides": [
            ". areas claims formats resample tissue",
            "slide",
            "scan tiles",
            "dicom",
            "job shelf export",
            "batch held",
            "cluster",
        ]
    },
    {
        "core.evaluation": [
            ". measures metrics metrics.bootstrap metrics.decisions metrics.likelihood schema trust_scale",
            "claims metrics.classification metrics.clusters metrics.froc",
            "calibrators metrics.conformal slides_card",
            "calibration",
            "card guarantees sections metrics.faithfulness metrics.localisation",
            "metrics.randomisation metrics.shapley metrics.stability",
            "metrics.planted metrics.position_bias metrics.robustness ood_kinds report trust",
            "ood slides",
            "explanations.stage",
            "explanations.table",
            "explanations",
            "explanations.runner",
        ],
        "core.training": [
            ". config distributed schedule tensorboard",
            "data runs",
            "features launch losses recipe start teacher watch",
            "losses.localisation precision optimiser promote state validation",
            "losses.objective",
            "loop lr_range",
        ],
    },
    {
        "core.service": ["."],
        "core.view": [
            ". charts charts.style drawing overlay selection verdict words",
            "charts.training contact_sheet export lean narrative pointing slide_map",
            "case charts.explanations charts.prediction comparison worklist",
            "charts.evidence figure paper",
            "case_report report",
            "slide_report",
        ],
    },
    {
        "core.cli": [
            "options terminal",
            "bench data evidence explain model score slide train",
            "evaluate evaluate_slides",
            ".",
        ]
    },
    {"core.__main__": ["."]},
]
EXCEPTIONS = {
    ("core.jobs", "core.__main__"): "a job is a command in a process of its own",
    ("core.cli.bench", "bench"): "`python -m core bench` runs what measures this project and its peers",
    ("core.training.promote", "core.evaluation"): "a model is promoted with an operating point and a card",
    ("core.training.recipe", "core.evaluation"): "a record of data is written the same way everywhere",
}
HANDS_ERRORS_ON = {"core.service", "core.inference.batcher"}
HEAVY = {"torch", "torchvision", "timm", "openvino", "captum", "h5py"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Every module a file imports or runs: inside functions, for types alone, and by a string; absolute names."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    for node in ast.walk(tree_of(path)):
        yield from named_by_string(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from core.data import flags` names a module, `from core.data.flags import flags` does not.
            for alias in node.names:
                candidate = f"{source}.{alias.name}"
                is_module = (ROOT / candidate.replace(".", "/")).with_suffix(".py").is_file()
                yield candidate if is_module else source


def named_by_string(node: ast.AST) -> Iterator[str]:
    """The module in `import_module("a.b")`, the package in `import_module(f"a.{b}")`, and what ["-m", "a.b"] runs."""
    if isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__", "run_module"):
            yield known_part(node.args[0])
    if isinstance(node, ast.List | ast.Tuple):
        for flag, module in pairwise(node.elts):
            if isinstance(flag, ast.Constant) and flag.value == "-m":
                name = known_part(module)
                yield f"{name}.__main__" if (ROOT / name.replace(".", "/") / "__main__.py").is_file() else name


def known_part(node: ast.expr) -> str:
    """A string, or an f-string as far as it is known: whole names only."""
    if isinstance(node, ast.JoinedStr):
        start = node.values[0]
        return str(start.value).rpartition(".")[0] if isinstance(start, ast.Constant) else "?"
    return str(node.value) if isinstance(node, ast.Constant) else "?"


@cache
def places() -> dict[str, tuple[int, str, int]]:
    """Storey, room and rank of every name in STOREYS."""
    return {
        room if name == "." else f"{room}.{name}": (storey, room, rank)
        for storey, rooms in enumerate(STOREYS)
        for room, ranks in rooms.items()
        for rank, names in enumerate(ranks)
        for name in names.split()
    }


def place_of(module: str) -> tuple[int, str, int]:
    """Where the longest name in STOREYS that the module lies under stands."""
    named = places()
    fitting = [name for name in named if module == name or module.startswith(f"{name}.")]
    longest = max(fitting, key=len, default="")
    assert longest not in ("", "core") or module == "core", f"{module} stands in no room: add it to STOREYS"
    return named[longest]


def may_import(module: str, other: str) -> bool:
    """Whether an import runs down the house."""
    storey, room, rank = place_of(module)
    below, wing, lower = place_of(other)
    return below < storey or (below == storey and room == wing and lower < rank)


def excepted(module: str, other: str) -> bool:
    return any(module == who and (other == what or other.startswith(f"{what}.")) for who, what in EXCEPTIONS)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_core_knows_neither_streamlit_nor_pages(path):
    foreign = {"streamlit", "pages", "app", "tests", "bench"}
    assert [
        name for name in imports_of(path) if name.split(".")[0] in foreign and not excepted(module_of(path), name)
    ] == []


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_imports_run_one_way(path):
    module = module_of(path)
    inside = {name for name in imports_of(path) if name.split(".")[0] == "core"}
    assert sorted(name for name in inside if not may_import(module, name) and not excepted(module, name)) == []


def test_every_name_in_the_drawing_is_a_module_and_every_exception_is_needed():
    modules = {module_of(path) for path in CORE}
    assert sorted(places().keys() - modules) == []
    for who, what in EXCEPTIONS:
        (path,) = [path for path in CORE if module_of(path) == who]
        assert [name for name in imports_of(path) if name == what or name.startswith(f"{what}.")], (who, what)


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("core.data.pcam", "core.models.store"),  # another room of its storey
        ("core.models.schema", "core.models.nets"),  # a later rank of its room
        ("core.data.labelled", "core.data.regions"),  # its own rank
        ("core.inference.reader", "core.evaluation.report"),  # a storey above
        ("core.evaluation.explanations.masks", "core.evaluation.explanations.trust"),  # both under one name
    ],
)
def test_what_the_drawing_forbids(module, other):
    assert not may_import(module, other)


def test_an_import_by_a_string_is_seen():
    def seen(code: str) -> list[str]:
        return [name for node in ast.walk(ast.parse(code)) for name in named_by_string(node)]

    assert seen("import_module('bench.load')") == ["bench.load"]
    assert seen("importlib.import_module(f'bench.{what}').run()") == ["bench"]
    assert seen("run([sys.executable, '-m', 'core', 'train'])") == ["core.__main__"]
    assert seen("command = (python, '-m', 'core.line', ticket)") == ["core.line"]
    assert seen("import_module(name)") == ["?"]


@pytest.mark.parametrize("path", [*CORE, *PAGES], ids=module_of)
def test_nobody_imports_by_a_name_that_cannot_be_read_here(path):
    assert "?" not in set(imports_of(path))


@pytest.mark.parametrize("path", PAGES, ids=module_of)
def test_pages_never_import_torch_or_one_another(path):
    assert roots(path).isdisjoint(HEAVY)
    if module_of(path) != "app":
        pages = {name for name in imports_of(path) if name.split(".")[0] in ("pages", "app")}
        assert {name for name in pages if not name.startswith("pages.parts")} == set()


def test_torch_is_imported_at_the_top_by_few():
    """Reading must not need torch, so only these modules may import it as they are imported."""
    allowed = {
        "core.models.checkpoints",
        "core.models.nets",
        "core.models.unpadded",
        "core.inference.engines.torch_engine",
        "core.explain.pixels",
    }
    top_level = set()
    for path in CORE:
        for node in tree_of(path).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {"torch", "torchvision", "timm", "captum"}:
                top_level.add(module_of(path))
    assert {name for name in top_level if not name.startswith("core.training.")} == allowed


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_every_module_says_what_it_is(path):
    said = ast.get_docstring(tree_of(path))
    assert said
    assert said.split("\n")[0].rstrip().endswith((".", "?", ":"))


@pytest.mark.parametrize("path", [p for p in CORE if "__all__" in p.read_text(encoding="utf-8")], ids=module_of)
def test_public_names_are_there(path):
    module = importlib.import_module(module_of(path))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_error_of_ours_stands_in_the_drawn_tree():
    from core import errors

    drawn = errors.__doc__ or ""
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) > 20
    missing = [c.__name__ for c in classes if f" {c.__name__} " not in drawn.replace("\n", " \n ")]
    assert missing == []
    assert all(issubclass(c, errors.NodeLensError) for c in classes)


@pytest.mark.parametrize("path", [*CORE, *PAGES], ids=module_of)
def test_nobody_catches_everything(path):
    """`except Exception` hides bugs; only who must hand an error on to another thread may catch it all."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and module_of(path) not in HANDS_ERRORS_ON:
            assert node.type is not None, f"{path.name}:{node.lineno} has a bare except"
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {name.id for name in caught if isinstance(name, ast.Name)}
            assert names.isdisjoint({"Exception", "BaseException"}), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", PAGES, ids=module_of)
def test_pages_keep_nothing_where_any_client_may_empty_it(path):
    """A message of Streamlit's protocol, `clear_cache`, empties its caches for everybody; see `core.kept`."""
    names = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    assert names.isdisjoint({"cache_data", "cache_resource"})
