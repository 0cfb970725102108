"""`stamp-train verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import print_json, progress_bar, say
from stamp_cli.make import Json

if TYPE_CHECKING:
    from stamp_train.train.checksums import Checked


def verify(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or of one checkpoint.")], json: Json = False
) -> None:
    """Check every byte of a run's checkpoints and of its finished model; list the faults, and exit 1 if there are any."""
    from stamp_train.train.checksums import check_folder, checked_folders

    folders, found = checked_folders(run), []
    with progress_bar() as report:
        for number, folder in enumerate(folders):
            report(number, len(folders), folder.name)
            found.append(check_folder(folder))
            report(number + 1, len(folders), folder.name)
    faults = sum(len(one.faults) for one in found)
    if json:
        print_json({"run": str(run), "folders": found, "faults": faults})
    else:
        _print(found)
    told = f"{len(found)} folder{'s' * (len(found) != 1)}"
    (say if json else print)(f"{told}: {f'{faults} faults' if faults else 'no fault'}")
    if unchecked := [one.folder for one in found if not one.checksums]:
        say(f"no checksums, since an older version wrote it: {', '.join(unchecked)}")
    if faults:
        say("hint: --resume auto goes on from the newest checkpoint that is whole")
        raise typer.Exit(1)


def _print(found: list[Checked]) -> None:
    width = max(len(one.folder) for one in found)
    print(f"{'folder':{width}}  {'step':>9}  {'files':>5}  {'MiB':>9}")
    for one in found:
        step = "" if one.step is None else f"{one.step:,}"
        state = "" if one.faults else "whole" if one.checksums else "not checked"
        print(f"{one.folder:{width}}  {step:>9}  {one.files:5}  {one.bytes / 2**20:9,.1f}  {state}".rstrip())
        for fault in one.faults:
            print(f"  {fault}")
