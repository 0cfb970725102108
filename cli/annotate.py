"""`stamp-data annotate`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import panels, say

if TYPE_CHECKING:
    from stamp_data.build.tokens import TokenCounter

(MODEL,) = panels("The model that is to learn from it")
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
    min_tokens: Annotated[int, MODEL(min=1, help="Fewest merged patches per picture.")] = 1024,
    max_tokens: Annotated[int, MODEL(min=1, help="Most merged patches per picture.")] = 1280,
    factor: Annotated[int, MODEL(help="Pixels per merged patch: 28 for Qwen2-VL and 2.5, 32 for Qwen3-VL.")] = 28,
    side: Annotated[int, MODEL(min=1, max=28, help="Labels along a patch's side.")] = 4,
    tokenizer: Annotated[Path | None, MODEL(help="Folder of a tokenizer that counts tokens; else estimated.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any.")] = 0,
) -> None:
    """Say what is in pictures and draw what you say, on a page of this machine; `build annotations` reads what comes of it.

    Every change is kept at once, and can be taken back, also after a restart.
    """
    from stamp_data.web.server import open_port  # where the extra for it is missing, that is told before any work,

    open_port(port).close()  # and so is a port that is taken
    from stamp_data.annotate.hints import Model
    from stamp_data.annotate.images import Images
    from stamp_data.annotate.server import open_server
    from stamp_data.annotate.store import Store
    from stamp_data.writing import hold

    model = Model(min_tokens, max_tokens, factor, side, _counter(tokenizer))
    own = images.parent if images.is_file() else images
    folder = out or own / FOLDER
    found = Images(images, (folder,))
    if found.skipped:
        names = ", ".join(map(repr, found.skipped[:TOLD]))
        say(f"{len(found.skipped)} pictures are passed over, since no file can hold their names: {names}")
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder, "`annotate`"):
        server = open_server(found, Store(folder, by or _user()), port, model)
        server.run(lambda address: say(f"{address}\n{len(found.names)} pictures; Ctrl-C ends it. {_next(own, folder)}"))


def _counter(tokenizer: Path | None) -> TokenCounter | None:
    """Only where one is asked for is its library loaded."""
    if tokenizer is None:
        return None
    from stamp_data.build.tokens import TokenCounter

    return TokenCounter(tokenizer)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return "somebody"


def _next(own: Path, folder: Path) -> str:
    inside = folder.resolve().is_relative_to(own.resolve())
    root = f"--root {own}" if inside else f"--root {folder} --images {own}"
    return f"Next: stamp-data build annotations {root} --out shards"
