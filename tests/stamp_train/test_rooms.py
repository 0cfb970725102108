"""The house: a room of stamp_train imports only from rooms before it, and the packages only downward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "launch",
    "sequence",
    "attention",
    "methods",
    "recipes",
    "backbones",
    "stream",
    "estimate",
    "generation",
    "train",
    "predict",
    "eval",
    "publish",
    "compare",
)
FOLDERS = {"stamp_schemas": "schemas", "stamp_data": "stamp_data", "stamp_train": "stamp_train", "stamp_cli": "cli"}
MAY_IMPORT = {
    "stamp_schemas": set(),
    "stamp_data": {"stamp_schemas"},
    "stamp_train": {"stamp_schemas", "stamp_data"},
    "stamp_cli": {"stamp_schemas", "stamp_data", "stamp_train"},
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of a package."""
    top = ROOT / FOLDERS[package]
    for path in sorted(top.rglob("*.py")):
        parts = [package, *path.relative_to(top).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path, *, when_loaded: bool = False) -> Iterator[str]:
    """Dotted names that a module imports: anywhere in it, or only while it is loaded."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", FOLDERS)
def test_packages_import_downward(package: str) -> None:
    ours = {*FOLDERS} - {package}
    wrong = [
        f"{name} imports {target}"
        for name, path in modules(package)
        for target in imports(name, path)
        if (top := target.split(".")[0]) in ours and top not in MAY_IMPORT[package]
    ]
    assert not wrong


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_rooms_before_it(room: str) -> None:
    later = {*ROOMS[ROOMS.index(room) + 1 :]}
    wrong = [
        f"{name} imports {target}"
        for name, path in modules("stamp_train")
        if name.startswith(f"stamp_train.{room}")
        for target in imports(name, path)
        if target.startswith("stamp_train.") and target.split(".")[1] in later
    ]
    assert not wrong


def test_every_module_lies_in_a_room() -> None:
    top = ROOT / "stamp_train"
    assert [path.name for path in top.glob("*.py")] == ["__init__.py"]
    assert {path.name for path in top.iterdir() if (path / "__init__.py").is_file()} == {*ROOMS}


def test_training_reads_sets_and_not_raw_data() -> None:
    """A machine that trains needs no source of raw data, and one that builds neither torch nor transformers."""
    assert not [
        name
        for name, path in modules("stamp_train")
        if any(target.startswith("stamp_data.sources") for target in imports(name, path))
    ]
    heavy = {"torch", "transformers", "peft", "accelerate"}
    assert not [
        name for name, path in modules("stamp_data") if heavy & {target.split(".")[0] for target in imports(name, path)}
    ]


def test_no_circle() -> None:
    """Of what is imported while modules are loaded; within a function a later one may be asked for."""
    files = {name: path for package in FOLDERS for name, path in modules(package)}
    graph = {
        name: {
            found
            for target in imports(name, path, when_loaded=True)
            if (found := target if target in files else target.rpartition(".")[0]) in files and found != name
        }
        for name, path in files.items()
    }
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in finished:
            for target in sorted(graph[name]):
                visit(target, (*way, name))
            finished.add(name)

    for name in graph:
        visit(name, ())
