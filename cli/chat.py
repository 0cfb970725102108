"""`stamp-train chat`."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stamp_cli.console import hide_loading_bars, only_for, panels, say
from stamp_cli.predict import (
    ANSWER,
    Base,
    Checkpoint,
    Device,
    Dtype,
    MaxNewTokens,
    Refine,
    RefineOptional,
    Seed,
    Temperature,
    Upsampled,
    open_refiner,
)

if TYPE_CHECKING:
    from stamp_train.predict import Segmenter
    from stamp_train.predict.chat.inline import Way

PAGE, TERMINAL = panels("As a page", "On the terminal")


def chat(
    context: typer.Context,
    checkpoint: Checkpoint,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")],
    out: Annotated[
        Path | None,
        TERMINAL("--out", "-o", help="Folder for masks, overlays and /save; chats/IMAGE-TIME if not given."),
    ] = None,
    pictures: Annotated[
        Literal["auto", "kitty", "iterm", "blocks", "off"], TERMINAL(help="How the terminal shows overlays.")
    ] = "auto",
    web: Annotated[bool, PAGE("--web", help="Talk on a page of this machine, at the address that is printed.")] = False,
    port: Annotated[int, PAGE(min=0, max=65535, help="Port of --web; 0 takes any.")] = 0,
    other: Annotated[
        list[Path] | None, PAGE(help="Further checkpoints to choose from on the page; may be repeated.")
    ] = None,
    force_mask: Annotated[bool, ANSWER("--force-mask", help="Answers begin with a mask (/mask).")] = False,
    upsampling: Upsampled = "bilinear",
    refine: Refine = "",
    refine_optional: RefineOptional = False,
    max_new_tokens: MaxNewTokens = 1024,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    base: Base = "",
) -> None:
    """Talk with a model about a picture, over several rounds.

    A line is a question; `/help` lists the commands. Masks are written as PNG, and their paths printed. Standard input may
    be a file or a pipe: answers and paths go to stdout, the rest to stderr.
    """
    from stamp_schemas import UsageFault
    from stamp_train.predict import Segmenter
    from stamp_train.predict.image import open_image

    only_for(context, "--refine", bool(refine), "refine_optional")
    only_for(context, "the terminal, not for --web", not web, "out", "pictures", "force_mask")
    only_for(context, "--web", web, "port", "other")
    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    if web:
        from stamp_data.web.server import open_port  # where the extra for it is missing, that is told before any work,

        open_port(port).close()  # and so is a port that is taken
    if not image.exists():
        raise UsageFault(f"{image}: no such file")
    picture = open_image(image)  # at fault more often than the checkpoint, and sooner known
    refiner = open_refiner(refine, device, seed, refine_optional)
    hide_loading_bars()
    segmenter = Segmenter.from_pretrained(checkpoint, device, dtype, upsampling, refiner, base)
    if web:
        from stamp_train.predict.chat.conversations import Conversations
        from stamp_train.predict.chat.server import open_server

        others = {
            str(path): partial(Segmenter.from_pretrained, path, device, dtype, upsampling, refiner)
            for path in other or ()
        }
        conversations = Conversations(segmenter, str(checkpoint), (picture, image.name), options, others)
        open_server(conversations, port).run(lambda address: say(f"{address}\nCtrl-C ends it"))
    else:
        folder = out or Path("chats", f"{image.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
        _talk(segmenter, image, options, folder, str(checkpoint), pictures, force_mask)


def _talk(
    segmenter: Segmenter,
    image: Path,
    options: dict[str, Any],
    folder: Path,
    model: str,
    pictures: Way,
    force_mask: bool,
) -> None:
    from rich.console import Console

    from stamp_train.predict.chat.inline import best_way
    from stamp_train.predict.chat.terminal import TerminalChat, lines

    console = Console(highlight=False)
    way = best_way(console, os.environ) if pictures == "auto" else pictures
    talk = TerminalChat(
        lambda path: segmenter.chat(path, **options), image, folder, model, console, say, way, force_mask
    )
    say(f"{model} on {segmenter.device.type}, about {image}; /help lists the commands")
    talk.run(lines("> ", say))
