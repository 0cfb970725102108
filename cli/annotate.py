"""`stamp-data annotate`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import say

FOLDER = "annotations"
TOLD = 3  # names


def annotate(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder of pictures, or one picture.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the annotations; IMAGES/annotations if not given. What is there goes on."
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Who annotates; your name on this machine if not given.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any.")] = 0,
) -> None:
    """Say what is in pictures and draw what you say, on a page of this machine; `build annotations` reads what comes of it.

    Every change is kept at once, and can be taken back, also after a restart.
    """
    from stamp_data.web.server import open_port  # where the extra for it is missing, that is told before any work,

    open_port(port).close()  # and so is a port that is taken
    from stamp_data.annotate.images import Images
    from stamp_data.annotate.server import open_server
    from stamp_data.annotate.store import Store
    from stamp_data.writing import hold

    own = images.parent if images.is_file() else images
    folder = out or own / FOLDER
    found = Images(images, (folder,))
    if found.skipped:
        names = ", ".join(map(repr, found.skipped[:TOLD]))
        say(f"{len(found.skipped)} pictures are passed over, since no file can hold their names: {names}")
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder, "`annotate`"):
        server = open_server(found, Store(folder, by or _user()), port)
        server.run(lambda address: say(f"{address}\n{len(found.names)} pictures; Ctrl-C ends it. {_next(own, folder)}"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return "somebody"


def _next(own: Path, folder: Path) -> str:
    inside = folder.resolve().is_relative_to(own.resolve())
    root = f"--root {own}" if inside else f"--root {folder} --images {own}"
    return f"Next: stamp-data build annotations {root} --out shards"
