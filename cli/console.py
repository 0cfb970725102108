"""What both commands share: results on stdout, talk on stderr, one line per error, exit codes.

0 done, 1 the data or the result is at fault, 2 the call is wrong, 75 stopped as asked, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperCommand

from stamp_cli.expected import expected
from stamp_schemas.errors import StampError, UsageFault, naming

EPILOG = (
    "Exit codes: 0 done · 1 the data or the result is at fault · 2 the call is wrong · 75 stopped as asked, after a checkpoint "
    "(training) · 130 stopped by Ctrl-C"
)
QUIET_SECONDS = 10.0  # between two progress lines where no bar can be drawn
INTERRUPTED = 130

Report = Callable[[int, int, str], None]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"stamp-seg {version('stamp-seg')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of the command itself."""


class _Command(TyperCommand):
    """Refuses what is given as an empty word, mostly an unset variable: a path that is none would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.params:
            value = given.get(parameter.name or "")
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise UsageFault(f"{name_of(parameter)} is given, and empty", "leave it out, or say what it is")
        rest: list[str] = super().parse_args(ctx, args)
        return rest


_Function = TypeVar("_Function", bound=Callable[..., Any])


class App(typer.Typer):
    """Commands of this project."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        return super().command(name, cls=_Command, **options)


def name_of(parameter: Any) -> str:
    """As it is written in a call: `--out`, or `OUT` for an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).upper()
    return str(max(parameter.opts, key=len))


Commands = dict[str, tuple[str, str, tuple[str, ...]]]
"""Command -> (panel of the help, module that has a function of its name, or an `app` of several; examples)."""


def new_app(summary: str, commands: Commands, called: str = "") -> App:
    """An application with this project's habits: `-h`, `--version`, completion, no boxed tracebacks.

    called: the command that is certain to be meant, as the first word of a call; if it is one, nothing is loaded of others.
    """
    app = App(
        help=summary,
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=summary)(_options)
    for name in [called] if called in commands else commands:
        panel, module, examples = commands[name]
        loaded = import_module(f"stamp_cli.{module}")
        if hasattr(loaded, "app"):
            app.add_typer(loaded.app, name=name, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel, epilog=epilog(*examples))(getattr(loaded, name))
    return app


def panels(*names: str) -> Iterator[Callable[..., Any]]:
    """`typer.Option` for each of these panels of a command's help."""
    return (partial(typer.Option, rich_help_panel=name) for name in names)


def epilog(*examples: str) -> str:
    """What stands below the help of a command."""
    return "Examples: " + " · ".join(f"`{line}`" for line in examples) + f"\n\n{EPILOG}"


def run(app: typer.Typer) -> None:
    """Run an application; whatever is expected to go wrong (`stamp_cli.expected`) becomes one line and an exit code."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata: what is wrong with a picture we say ourselves
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text that a terminal can show
    try:
        try:
            app()
        finally:
            with naming("standard output"):
                sys.stdout.flush()
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone; nothing is left to say, not even by the interpreter
        sys.exit(1)
    except Exception as fault:
        told = expected(fault)
        if told is None:
            raise
        _fail(told)


def _fail(fault: StampError) -> NoReturn:
    with suppress(OSError):  # stderr may be a file on the very disk that is full
        say(f"error: {one_line(fault.message)}")
        if fault.hint:
            say(f"hint: {one_line(fault.hint)}")
    with suppress(OSError):  # what could not be written is given up, or the interpreter would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(fault.exit_code)


def one_line(text: str) -> str:
    """`text` as one line of a terminal: what would end the line, or steer the terminal, is written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def only_for(context: typer.Context, what: str, holds: bool, *names: str) -> None:
    """Stop at an option that was spelled and would say nothing here.

    what: that the options are for, such as `--html`. holds: whether it is asked for. names: of the parameters.

    Raises:
        UsageFault: there is one.
    """
    for parameter in context.command.params if not holds else ():
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise UsageFault(f"{parameter.opts[0]} is only for {what}")


def say(text: str) -> None:
    """One line to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def shell(*words: object) -> str:
    """A command as a shell takes it, whatever its paths are called."""
    return shlex.join(map(str, words))


def hide_loading_bars() -> None:
    """Silence transformers' own bars, one for every file that a checkpoint consists of; and DeepSpeed where it is installed.

    accelerate then imports it, used or not, and it would tell on stdout that it sees no GPU.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A function to be told (done, total, what): a live bar on a terminal, elsewhere lines."""
    if sys.stderr.isatty():
        with _live_bar() as report:
            yield report
    else:
        yield _Lines()


class _Lines:
    """A line when something begins, when it ends, and every ten seconds in between."""

    def __init__(self) -> None:
        self._last, self._line, self._what = 0.0, "", ""

    def __call__(self, done: int, total: int, what: str) -> None:
        now, line = time.monotonic(), f"{what} ({done}/{total})" if total else what
        ends = done >= total and line != self._line
        if what != self._what or ends or now - self._last >= QUIET_SECONDS:
            say(line)
            self._last, self._line, self._what = now, line, what


@contextmanager
def _live_bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    def whole() -> Column:
        return Column(no_wrap=True)  # where there is little room, the text is wrapped and the numbers stay

    columns = (
        TextColumn("{task.description}", table_column=Column()),
        BarColumn(),
        MofNCompleteColumn(table_column=whole()),
        TimeElapsedColumn(table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total or None, description=what)


def print_json(value: object) -> None:
    """One JSON value on stdout, for programs. Names of files that are no text hold escapes of half a surrogate pair."""
    import json

    import msgspec

    try:
        print(msgspec.json.encode(value, enc_hook=str).decode())
    except UnicodeEncodeError:
        print(json.dumps(msgspec.to_builtins(value, enc_hook=str)))
