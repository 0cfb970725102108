"""`stamp-data convert`."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import INTERRUPTED, print_json, progress_bar, say
from stamp_cli.export import AllowLoss, Polygons
from stamp_cli.make import Crowds, Encoding, FollowLinks, Images, Json, Workers, folder_of_root

if TYPE_CHECKING:
    from stamp_data.executors import Executor


def convert(
    source: Annotated[
        str, typer.Argument(metavar="A", help="Raw data, a file, a folder or hf:OWNER/NAME; or shard sets.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="B", help="New folder; its name may speak of the format, as pets-coco.")
    ],
    origin: Annotated[str, typer.Option("--from", help="Format of A, a NAME of `build`; found out if not given.")] = "",
    to: Annotated[str, typer.Option("--to", help="Format of B, as of `export`; by B's name if not given.")] = "",
    split: Annotated[list[str] | None, typer.Option(help="Only these splits; all if not given.")] = None,
    polygons: Polygons = False,
    allow_loss: AllowLoss = False,
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Keep the shard sets in between there; removed if not given.")
    ] = None,
    images: Images = None,
    follow_links: FollowLinks = False,
    encoding: Encoding = "",
    crowd: Crowds = "ignore",
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Build and export in one go: from any format that `build` reads to any that `export` writes.

    B appears whole or not at all, with what was refused of A in rejects.jsonl, and what its format cannot hold in
    losses.jsonl; the latter takes --allow-loss.
    """
    from stamp_data.build.jobs import Job
    from stamp_data.convert import Way, convert
    from stamp_data.executors.local import LocalExecutor, usable_cores

    gc.disable()  # as in `build`
    if source.startswith("hf:"):
        folder, follow_links = folder_of_root(Path(source), [origin] if origin else [], follow_links)
        source = str(folder)
    job = Job((), Path(), Path(), tuple(split or ()), encoding=encoding, crowd=crowd, images=tuple(images or ()),
              follow_links=follow_links)  # fmt: skip
    way = Way(job, origin, to, polygons, allow_loss, shards)
    runners: list[Executor] = []

    def runner() -> Executor:
        runners.append(LocalExecutor(workers or usable_cores()))
        return runners[0]

    try:
        with progress_bar() as report:
            done = convert(source, out, way, runner, report)
    except KeyboardInterrupt:
        say("stopped; nothing is left of it")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for one in runners:
            one.close()
    print_json(done) if json else print(done.summary())
    for note in done.export.notes:
        say(f"note: {note}")
