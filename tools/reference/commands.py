"""Every command with its arguments, options and examples, and the exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from stamp_cli import data, train
from stamp_cli.console import EPILOG, name_of
from tools.reference.markdown import code, table

_KINDS = {"int": "N", "integer": "N", "float": "X", "path": "PATH"}
Command = Any  # click's, or the copy of it that typer brings


def commands() -> Iterator[tuple[str, Command]]:
    """(how it is called, the command), of both programs, groups in their parts."""
    for program, module in (("stamp-data", data), ("stamp-train", train)):
        yield from _leaves(program, typer.main.get_command(module.app()))


def exit_codes() -> list[tuple[str, str]]:
    """(code, meaning), as the help of every command ends."""
    said = EPILOG.removeprefix("Exit codes: ").split(" · ")
    return [(number, meaning) for number, _, meaning in (one.partition(" ") for one in said)]


def page() -> str:
    found = list(commands())
    parts = [
        "# Commands",
        "What `--help` of each command says. Results go to stdout, talk to stderr; `--json` is one object on stdout.",
        "## Exit codes",
        table(("code", "meaning"), exit_codes()),
        "## All",
        table(
            ("command", "what it does"),
            [(f"[`{name}`](#{name.replace(' ', '-')})", _about(one)) for name, one in found],
        ),
    ]
    for name, one in found:
        parts += _section(name, one)
    return "\n\n".join(parts)


def _leaves(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, one in (below or {}).items():
        yield from _leaves(f"{name} {word}", one)


def _about(command: Command) -> str:
    return str(command.help).strip().split("\n\n")[0]


def _section(name: str, command: Command) -> Iterator[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    usage = " ".join(
        [name, *(_usage(one) for one in arguments), *(["[OPTIONS]"] if len(shown) > len(arguments) else [])]
    )
    yield f"## {name}"
    yield "\n\n".join(" ".join(part.split()) for part in str(command.help).strip().split("\n\n"))
    yield code(usage)
    if shown:
        yield table(("argument, option", "default", "meaning"), [_row(one) for one in shown])
    if examples := re.findall(r"`([^`]+)`", str(command.epilog or "").partition("Exit codes:")[0]):
        yield "\n".join(["```", *examples, "```"])


def _usage(argument: Any) -> str:
    name = name_of(argument) + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        return code(name_of(parameter)), "", str(parameter.help or "")
    names = ", ".join(code(name) for name in [*parameter.opts, *parameter.secondary_opts])
    kind = "" if parameter.is_flag else " " + code(_kind(parameter))
    needed = "needed" if parameter.required else _default(parameter)
    return names + kind, needed, str(parameter.help or "")


def _kind(parameter: Any) -> str:
    choices = getattr(parameter.type, "choices", None)
    if choices and not parameter.metavar:
        return "|".join(map(str, choices))
    return str(parameter.metavar or _KINDS.get(parameter.type.name.partition(" ")[0], "TEXT"))


def _default(parameter: Any) -> str:
    value = parameter.default
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return code(str(value)) if plain and value != "" else ""
