"""What lies under a root: which datasets, whether they are whole and readable, and whether this machine is fit for the rest.

Counts are compared with the published ones; a difference is a warning with both numbers, since releases differ. Every
annotation file is parsed once; of the records a sample is made as a build would make it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec

from stamp_data.doctor.datasets import DatasetReport, Finding, Level, examine_dataset
from stamp_data.sources import SOURCES
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.foreign import recognise
from stamp_data.sources.formats.core import FormatSource
from stamp_data.sources.own_refer import own_set, own_sets
from stamp_schemas import StampError, UsageFault
from stamp_schemas.extras import install_line

LITTLE_SPACE = 20 << 30  # bytes; a built set is about as large as its pictures
IMPORT_SECONDS = 60  # until an import that hangs counts as failed
FAST_TOKENIZER, SLOW_TOKENIZER = ("tokenizer.json",), ("vocab.json", "merges.txt")


class Fact(msgspec.Struct):
    """One thing about this machine. value: for people; remedy: what to do, "" if nothing."""

    name: str
    level: Level
    value: str
    remedy: str = ""


class Report(msgspec.Struct):
    """The whole answer. foreign: what lies there instead, and the way to build it, where no dataset is there."""

    root: str
    datasets: list[DatasetReport]
    environment: list[Fact]
    foreign: str = ""

    @property
    def findings(self) -> list[Finding]:
        """Every finding about the datasets, those of whole datasets before those of their splits."""
        whole = [finding for dataset in self.datasets for finding in dataset.findings]
        return whole + [finding for dataset in self.datasets for split in dataset.splits for finding in split.findings]

    @property
    def nothing(self) -> bool:
        """Whether no dataset is there, not even a broken one."""
        return all(dataset.state == "absent" for dataset in self.datasets)

    @property
    def worst(self) -> Level:
        """The gravest level among all findings and facts. An absent dataset is none, nobody needs all; nothing at all is."""
        if self.nothing:
            return "error"
        levels = {finding.level for finding in self.findings} | {fact.level for fact in self.environment}
        return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def examine(root: Path, tokenizer: Path | None = None, reading: Reading = AS_USUAL) -> Report:
    """Look at everything under `root`. tokenizer: a folder that is to serve as one. reading: as for a build. UsageFault if
    there is no root.
    """
    if not root.is_dir():
        folder = "name the folder that it lies in" if root.exists() else "name the folder that holds the downloads"
        raise UsageFault(f"{root} is no folder", folder)
    own = [own_set(name, root) for name in own_sets(root, tuple(SOURCES))]
    kinds = [kind for kind in (*SOURCES.values(), *own) if not is_of_another(kind, root)]
    reports = [report for kind in kinds for report in examine_dataset(kind, root, reading)]
    report = Report(str(root), reports, environment(root, tokenizer))
    if report.nothing and (form := recognise(root)):
        report.foreign = f"this is {form.name}: {form.way}"
    return report


def is_of_another(kind: type[Source], root: Path) -> bool:
    """Whether all files that look like a format that is known by their place are of formats that are known by their keys."""
    if not kind.own or issubclass(kind, FormatSource) or not kind.find(root):
        return False
    try:
        files = {path.resolve() for path in kind(root).inputs}
    except StampError:
        return False
    surer = [form(root) for form in SOURCES.values() if issubclass(form, FormatSource) and form.find(root)]
    return files <= {path.resolve() for source in surer for path in source.inputs}


def environment(root: Path, tokenizer: Path | None = None) -> list[Fact]:
    """What a build and a training need of this machine."""
    system = Fact("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    return [system, _space(root), *_packages(), _torchvision(), _tokenizer(tokenizer)]


def _space(root: Path) -> Fact:
    free = shutil.disk_usage(root).free
    value = f"{free / (1 << 30):,.1f} GiB free at {root}"
    if free < LITTLE_SPACE:
        return Fact("disk", "warning", value, "a built set is about as large as its pictures: build to another disk")
    return Fact("disk", "ok", value)


def _packages() -> list[Fact]:
    facts = []
    for name in ("torch", "transformers"):
        version = _version(name)
        absent = "not installed; building and looking at data do without it, training does not"
        facts.append(Fact(name, "ok", version or absent, "" if version else install_line("train")))
    return facts


def _torchvision() -> Fact:
    """torchvision is not needed, and one that does not fit torch breaks transformers' image processors by being there."""
    version = _version("torchvision")
    if not version:
        return Fact("torchvision", "ok", "not installed, nor needed")
    command = [sys.executable, "-c", "import torchvision"]
    try:
        failed = subprocess.run(command, capture_output=True, timeout=IMPORT_SECONDS, check=False).returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        remedy = "pip uninstall torchvision: transformers breaks on its presence"
        return Fact("torchvision", "error", f"{version} is installed but cannot be imported", remedy)
    return Fact("torchvision", "ok", f"{version}, importable")


def _tokenizer(folder: Path | None) -> Fact:
    version = _version("tokenizers")
    if folder is None:
        value = f"tokenizers {version}" if version else "no tokenizer; tokens are then not counted in the index"
        return Fact("tokenizer", "ok", value)
    if not any(all((folder / name).is_file() for name in names) for names in (FAST_TOKENIZER, SLOW_TOKENIZER)):
        remedy = "it takes tokenizer.json, or vocab.json and merges.txt"
        return Fact("tokenizer", "error", f"{folder} holds no tokenizer", remedy)
    if not version:
        return Fact("tokenizer", "error", f"{folder}, but no tokenizers package", install_line("tokenizer"))
    return Fact("tokenizer", "ok", f"{folder}, tokenizers {version}")


def _version(package: str) -> str:
    """Version of an installed package, "" if it is not; nothing is imported, which would take seconds."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
