"""What the documentation shows can be done: its commands parse, and the Kubernetes example agrees with itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from stamp_cli.train import app
from stamp_train.launch.signals import STOPPED
from stamp_train.launch.torchrun import find_group
from stamp_train.recipes import resolve

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "clusters.md").read_text(encoding="utf-8")
COMMANDS = [line.partition("  #")[0].strip() for line in PAGE.splitlines() if line.startswith("stamp-train run")]


def parsed(words: list[str]) -> dict[str, Any]:
    """Options of `stamp-train run`, which is not run."""
    command = typer.main.get_command(app()).commands["run"]  # type: ignore[attr-defined]
    options: dict[str, Any] = command.make_context("run", words).params
    return options


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page_are_understood(command: str) -> None:
    program, name, *words = shlex.split(command)
    assert (program, name) == ("stamp-train", "run")
    options = parsed(words)
    resolve(options["recipe"], options["overrides"] or ())
    if options["launcher"] == "torchrun":
        find_group(options["nodes"], options["node_rank"], options["rendezvous"], environment={})


def test_the_page_shows_every_launcher() -> None:
    assert {parsed(shlex.split(command)[2:])["launcher"] for command in COMMANDS} == {"local", "torchrun", "slurm"}


def test_the_kubernetes_example_agrees_with_itself_and_with_the_command() -> None:
    text = (DOCS / "kubernetes" / "train.yaml").read_text(encoding="utf-8")
    service, claim, job = yaml.safe_load_all(text)
    assert [part["kind"] for part in (service, claim, job)] == ["Service", "PersistentVolumeClaim", "Job"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["stamp-train"] and container["args"][0] == "run"
    assert all(isinstance(word, str) for word in container["args"])
    options = parsed(container["args"][1:])
    resolve(options["recipe"], options["overrides"])

    groups = [
        find_group(
            options["nodes"],
            options["node_rank"],
            options["rendezvous"],
            options["processes"],
            environment={"JOB_COMPLETION_INDEX": str(index)},
        )
        for index in range(spec["completions"])
    ]
    assert options["launcher"] == "torchrun" and spec["completionMode"] == "Indexed"
    assert {group.most for group in groups} == {spec["completions"]} == {spec["parallelism"]}
    assert [group.node_rank for group in groups] == [0, 1]
    assert groups[0].processes == container["resources"]["limits"]["nvidia.com/gpu"]

    first = f"{job['metadata']['name']}-0.{service['metadata']['name']}"  # the name that an indexed Job gives its pods
    assert groups[0].rendezvous == f"{first}:{container['ports'][0]['containerPort']}"
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert pod["subdomain"] == service["metadata"]["name"]

    assert options["resume"] == "auto" and pod["restartPolicy"] == "Never"
    rules = spec["podFailurePolicy"]["rules"]
    ignored = [rule["onExitCodes"] for rule in rules if rule["action"] == "Ignore" and "onExitCodes" in rule]
    assert ignored == [{"containerName": container["name"], "operator": "In", "values": [STOPPED]}]
    assert pod["terminationGracePeriodSeconds"] >= 120

    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    root = Path(dict(word.split("=") for word in options["overrides"])["data.root"])
    assert all(path.is_relative_to(mounts["data"]) for path in (root, Path(options["out"])))
