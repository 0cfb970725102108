"""`stamp-data hub`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import App, epilog, print_json, progress_bar, say, shell
from stamp_cli.make import Json, Workers

Place = Annotated[
    str, typer.Argument(metavar="OWNER/NAME", help="A dataset on the Hugging Face hub; or file:///FOLDER in its place.")
]
Revision = Annotated[str, typer.Option(help="Branch, tag or commit; to push, a branch. The main one if not given.")]
app = App(no_args_is_help=True)


@app.callback()
def hub() -> None:
    """Built sets to and from the Hugging Face hub, or a folder in its place."""


@app.command(
    epilog=epilog(
        "stamp-data hub push shards me/my-sets --private",
        "stamp-data hub push shards/refcoco-unc/val me/my-sets --revision draft --licence cc-by-4.0",
        "stamp-data hub push shards file:///mnt/shared/my-sets",
    )
)
def push(
    root: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a built set, or of several.")],
    place: Place,
    private: Annotated[
        bool, typer.Option("--private", help="If the dataset is made anew, nobody else sees it.")
    ] = False,
    revision: Revision = "",
    licence: Annotated[
        str, typer.Option(help="Of the whole, as the hub calls it; the sources' own are named anyway.")
    ] = "",
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Send built sets, once every hash of them is verified, with a card that names licences and losses.

    What is there already is not sent again, so that the same command goes on where it was stopped. Sets of other names in the
    dataset stay. The token is the one of `hf auth login` (or HF_TOKEN).
    """
    from stamp_data.executors.local import usable_cores
    from stamp_data.hub import push as push_sets

    with progress_bar() as report:
        done = push_sets(
            root,
            place,
            private=private,
            revision=revision,
            licence=licence,
            workers=workers or usable_cores(),
            progress=report,
        )
    print_json(done) if json else print(done.summary())
    for note in done.notes:
        say(f"note: {note}")


@app.command(
    epilog=epilog(
        "stamp-data hub pull me/my-sets --out shards",
        "stamp-data hub pull me/my-sets --set refcoco-unc/val --revision draft --out shards",
    )
)
def pull(
    place: Place,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to put the sets into.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set; may be repeated.")] = None,
    revision: Revision = "",
    json: Json = False,
) -> None:
    """Fetch built sets. Every file is held against the digest in its manifest before it takes its place.

    What is there already is not fetched again, so that the same command goes on where it was stopped.
    """
    from stamp_data.hub import pull as pull_sets

    done = []
    with progress_bar() as report:
        for one in pull_sets(place, out, tuple(sets or ()), revision, report):
            done.append(one)
            say(one.summary()) if json else print(one.summary(), flush=True)
    if json:
        print_json({"sets": done})
    say(f"Next: {shell('stamp-data', 'inspect', out)}")
