"""The distribution: every package is named, the base install stays light, the commands are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from stamp_schemas.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"cli": "stamp_cli", "schemas": "stamp_schemas", "stamp_data": "stamp_data", "stamp_train": "stamp_train"}


def test_every_package_of_the_tree_is_named_in_pyproject() -> None:
    found = set()
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_data_file_is_packaged() -> None:
    told = dict(PROJECT["tool"]["setuptools"]["package-data"])
    patterns = {pattern.lstrip("*") for pattern in told.pop("*")}
    of_packages = {
        path for name, globs in told.items() for glob in globs for path in ROOT.joinpath(*name.split(".")).glob(glob)
    }
    files = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()} - of_packages
    kinds = {path.suffix or path.name for path in files}
    assert kinds - {".py", ".pyc"} <= patterns | {".typed"}


def test_the_extras_that_messages_name_are_there() -> None:
    assert set(EXTRAS.values()) <= set(PROJECT["project"]["optional-dependencies"])


def test_what_no_base_install_has_is_known_by_the_extra_that_brings_it() -> None:
    """Else a command that lacks it ends with a traceback."""
    names = {"pillow": "PIL"}
    base = {re.split(r"[<>=]", entry)[0] for entry in PROJECT["project"]["dependencies"]}
    known = {names.get(name, name) for name in base} | EXTRAS.keys() | sys.stdlib_module_names | set(FOLDERS.values())
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in imported} <= known, path


def test_the_base_install_has_neither_torch_nor_transformers() -> None:
    base = " ".join(PROJECT["project"]["dependencies"])
    assert "torch" not in base
    assert "transformers" not in base


def test_the_data_side_never_imports_torch() -> None:
    code = (
        "import pkgutil, importlib, sys, stamp_data\n"
        "for module in pkgutil.walk_packages(stamp_data.__path__, 'stamp_data.'):\n"
        "    if module.name.rpartition('.')[2] not in ('ray', '__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'matplotlib', 'webdataset'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    }
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = (
        PROJECT["project"]["dependencies"]
        + extras["train"]
        + extras["dev"]
        + extras["hf"]
        + extras["tokenizer"]
        + extras["docs"]
    )
    names = {
        re.split(r"[>\[]", entry)[0].lower().replace("_", "-") for entry in wanted if not entry.startswith("stamp-seg")
    }
    assert names <= pinned
