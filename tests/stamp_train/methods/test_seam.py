"""The seam of methods: read off the sources, so that nobody outside their folders learns which method it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from stamp_train.methods import METHODS, settings_type
from stamp_train.methods.contract import Method, Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "stamp_train/methods"
# The first method has the name of the project, of the section in config.json, and of a convention of metrics.
NAMES = [name for name in METHODS if name != "stamp"]


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Modules that are imported, by whatever form."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def outside() -> list[tuple[str, ast.Module]]:
    return [one for one in sources("stamp_train", "cli", "schemas") if not one[0].startswith("stamp_train/methods/")]


def of_a_method(module: str) -> str | None:
    """The method whose folder a module lies in."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["stamp_train", "methods"] and len(parts) > 2 and parts[2] in METHODS else None


def test_nobody_outside_imports_a_method() -> None:
    assert {(path, module) for path, tree in outside() for module in imported(tree) if of_a_method(module)} == set()


def test_no_method_imports_another_and_what_they_share_imports_none() -> None:
    for path, tree in sources("stamp_train/methods"):
        own = Path(path).parts[2]
        others = {module for module in imported(tree) if of_a_method(module) not in (None, own)}
        assert not others, (path, others)


def test_nobody_outside_names_a_method() -> None:
    """Neither a method's name nor the path of its folder stands in a text, of code or of documentation."""
    for path, tree in outside():
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not {text for text in texts if text in NAMES}, path
        assert not {text for text in texts for name in METHODS if f"methods.{name}" in text}, path


def test_everybody_outside_asks_a_method_for_what_the_contract_has() -> None:
    known = {
        "method": {*dir(Method), *Method.__annotations__},
        "settings": {*dir(Settings), *Settings.__annotations__, "name"},
    }
    for path, tree in outside():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            of = node.value
            whose = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
            above = of.value.attr if isinstance(of, ast.Attribute) and isinstance(of.value, ast.Attribute) else ""
            if whose == "method" or (whose == "settings" and above == "method"):
                allowed = known[whose] | (
                    known["settings"] if whose == "method" else set()
                )  # `recipe.method` are settings
                assert node.attr in allowed, f"{path}:{node.lineno}: .{whose}.{node.attr}"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_whole(name: str) -> None:
    """Its settings say their name, their method is one, and no setting of the run alone is kept with the network."""
    kind = settings_type(name)
    settings = kind()
    assert issubclass(kind, Settings) and settings.name == name
    assert isinstance(settings.method(), Method)
    assert set(kind.training) <= set(kind.__struct_fields__)
    assert settings.tokens_per_mask(12) >= 0
