"""The house: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").rglob("*.py"), *ROOT.glob("app.py")])

# Storeys from the ground up. A module may import from its own room, and from storeys below its own.
STOREYS = [
    ["core", "core.errors"],
    ["core.settings", "core.files", "core.kept", "core.logs", "core.locks", "core.task"],
    ["core.data", "core.models", "core.jobs", "core.line"],
    ["core.explain"],
    ["core.inference"],
    ["core.evaluation"],
    ["core.training"],
    ["core.view"],
    ["core.service"],
    ["core.cli"],
    ["core.__main__"],
]
HANDS_ERRORS_ON = {"core.inference.scores", "core.inference.batcher"}
# Within the third storey: nets know bundles, and data know neither.
NEVER = {
    ("core.data", "core.models.bundle"),
    ("core.data", "core.models.nets"),
    ("core.models.bundle", "core.models.nets"),
    ("core.models.checkpoints", "core.models.nets"),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every module a file imports, inside functions and under TYPE_CHECKING too; absolute names."""
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


def storey_of(module: str) -> tuple[int, str]:
    """Number of the storey, and the room: the longest name in STOREYS that the module lies under."""
    rooms = [(level, room) for level, rooms in enumerate(STOREYS) for room in rooms]
    fitting = [(level, room) for level, room in rooms if module == room or module.startswith(room + ".")]
    level, room = max(fitting, key=lambda found: len(found[1]))
    assert room != "core" or module == "core", f"{module} stands in no room: add it to STOREYS"
    return level, room


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_core_knows_neither_streamlit_nor_pages(path):
    strange = {"streamlit", "pages", "app", "tests", "bench"} - (
        {"bench"} if module_of(path) == "core.cli.bench" else set()
    )
    assert roots(path).isdisjoint(strange)


@pytest.mark.parametrize("path", [*CORE, *PAGES], ids=module_of)
def test_nobody_imports_our_own_by_a_string(path):
    """An import that is only a string is one that the other tests here cannot see."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            (name,) = node.args
            assert isinstance(name, ast.Constant), f"{path.name}:{node.lineno} imports what cannot be read here"
            assert name.value.split(".")[0] not in ("core", "pages", "app", "bench", "tests")


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_imports_run_one_way(path):
    level, room = storey_of(module_of(path))
    for name in imports_of(path):
        if name == "core" or name.startswith("core."):
            below, other = storey_of(name)
            assert (room, other) not in NEVER, f"{path.name} imports {name}"
            assert below < level or other == room or below == level == 2, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", PAGES, ids=module_of)
def test_pages_never_import_torch_or_one_another(path):
    assert roots(path).isdisjoint({"torch", "torchvision", "timm", "openvino", "captum", "h5py"})
    if module_of(path) != "app":
        pages = {name for name in imports_of(path) if name.split(".")[0] in ("pages", "app")}
        assert {name for name in pages if not name.startswith("pages.parts")} == set()


def test_torch_is_imported_at_the_top_by_few():
    """Reading must not need torch, so only these modules may import it as they are imported."""
    allowed = {
        "core.models.checkpoints",
        "core.models.nets",
        "core.inference.engines.torch_engine",
        "core.explain.pixels",
    }
    top_level = set()
    for path in CORE:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {"torch", "torchvision", "timm", "captum"}:
                top_level.add(module_of(path))
    assert {name for name in top_level if not name.startswith("core.training.")} == allowed


@pytest.mark.parametrize("path", CORE, ids=module_of)
def test_every_module_says_what_it_is(path):
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and module_of(path) not in HANDS_ERRORS_ON:
            assert node.type is not None, f"{path.name}:{node.lineno} has a bare except"
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {name.id for name in caught if isinstance(name, ast.Name)}
            assert names.isdisjoint({"Exception", "BaseException"}), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", PAGES, ids=module_of)
def test_pages_keep_nothing_where_any_client_may_empty_it(path):
    """A message of Streamlit's protocol, `clear_cache`, empties its caches for everybody; see `core.kept`."""
    names = {
        node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    }
    assert names.isdisjoint({"cache_data", "cache_resource"})
