"""What GitHub and pre-commit read is well formed, and names what is there."""

from __future__ import annotations

import re
import subprocess
import tomllib

import yaml

from ..conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][\w.-]*):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_make_lists_its_targets() -> None:
    told = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in told.splitlines()} == TARGETS
    assert set(MAKEFILE.partition(".PHONY: ")[2].partition("\n")[0].split()) == TARGETS


def test_workflows_make_targets_that_there_are() -> None:
    (workflow,) = (ROOT / ".github/workflows").glob("*.yml")
    (job,) = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    asked = set(job["strategy"]["matrix"]["target"])
    assert {"lint", "test", "test-oldest", "docs"} <= asked <= TARGETS


def test_what_has_to_pass_makes_targets_that_there_are() -> None:
    made = re.findall(r"^make (\S+)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"lint", "test", "test-avx2", "site"} <= set(made) <= TARGETS


def test_issue_templates_ask_for_what_is_needed() -> None:
    folder = ROOT / ".github/ISSUE_TEMPLATE"
    forms = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.yml") if path.stem != "config"}
    assert forms
    for text in forms.values():
        form = yaml.safe_load(text)
        assert form["name"] and form["description"] and form["body"]
    assert "stamp-data doctor ROOT --json" in forms["fault"] and "stamp-train env" in forms["fault"]


def test_hooks_are_of_programs_that_are_there() -> None:
    told = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in told["repos"] for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in hooks} <= {".venv/bin/ruff", ".venv/bin/python"}
    assert all((ROOT / word).exists() for hook in hooks for word in hook["entry"].split() if word.startswith("tests/"))


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["version"], cited["license"]) == (
        PROJECT["name"],
        PROJECT["version"],
        PROJECT["license"],
    )


def test_the_table_of_extras_is_whole() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8").partition("## Extras")[2].partition("\n## ")[0]
    named = {extra for found in re.findall(r"\[([\w,]+)\]", page) for extra in found.split(",")}
    assert named == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}  # which `make` installs
