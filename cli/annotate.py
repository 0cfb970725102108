"""`stamp-data annotate`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import hide_loading_bars, only_for, panels, say, shell
from stamp_cli.make import Json
from stamp_schemas import StampError, UsageFault

if TYPE_CHECKING:
    from stamp_data.annotate.hints import Model
    from stamp_data.annotate.images import Images
    from stamp_data.annotate.server import Clicker, Proposer
    from stamp_data.annotate.store import Store
    from stamp_data.build.tokens import TokenCounter

REVIEW, ASK, MODEL = panels("Review of what is there", "A model to ask", "The model that is to learn from it")
FOLDER, STATS, PATCH = "annotations", "stats", "patch"
OF_PAGES = (
    "by", "begin", "flagged_only", "predict", "assist", "min_tokens", "max_tokens", "factor", "side", "tokenizer", "port",
)  # fmt: skip
SEEN = ".seen"  # within a folder of annotations
TOLD = 3  # names
LONGEST = 200  # characters of who made something


def annotate(
    context: typer.Context,
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES", help="A folder of pictures, or one picture; or `stats` or `patch`, of FOLDERS."
        ),
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDERS]", help="Of `stats`: one folder of annotations, or two; of `patch`: one."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the annotations; IMAGES/annotations if not given. What is there goes on. Of `patch`: the file.",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Who annotates; your name on this machine if not given.")] = "",
    begin: Annotated[
        list[str] | None,
        REVIEW(
            "--from",
            metavar="SETS|FILE",
            help="Built sets, or whatever `build` reads (NAME=PATH where its format is unclear): what they say of the same "
            "pictures is proposed, where nothing is said yet.",
        ),
    ] = None,
    flagged_only: Annotated[
        bool, REVIEW("--flagged", help="Only pictures of which `inspect` would flag something, as they are now.")
    ] = False,
    predict: Annotated[
        Path | None, ASK(help="A checkpoint that proposes masks, and phrases: folder of a model, or of a training run.")
    ] = None,
    assist: Annotated[
        str,
        ASK(
            help="sam=PATH: SAM or SAM 2 finds what is pointed at; a Hugging Face folder, a cached model, or an official file."
        ),
    ] = "",
    device: Annotated[
        str, ASK(help="Of --predict and --assist: auto takes CUDA, then MPS, then the CPU; cuda:1, cpu, …")
    ] = "auto",
    min_tokens: Annotated[int, MODEL(min=1, help="Fewest merged patches per picture.")] = 1024,
    max_tokens: Annotated[int, MODEL(min=1, help="Most merged patches per picture.")] = 1280,
    factor: Annotated[int, MODEL(help="Pixels per merged patch: 28 for Qwen2-VL and 2.5, 32 for Qwen3-VL.")] = 28,
    side: Annotated[int, MODEL(min=1, max=28, help="Labels along a patch's side.")] = 4,
    tokenizer: Annotated[Path | None, MODEL(help="Folder of a tokenizer that counts tokens; else estimated.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any.")] = 0,
    json: Json = False,
) -> None:
    """Say what is in pictures and draw what you say, on a page of this machine; `build annotations` reads what comes of it.

    Every change is kept at once, and can be taken back, also after a restart.
    """
    reads = str(images) in (STATS, PATCH)
    only_for(context, "`stats` and `patch`", reads, "json")
    only_for(context, "a page, not for `stats` and `patch`", not reads, *OF_PAGES)
    only_for(context, "a page and `patch`", str(images) != STATS, "out")
    only_for(context, "--predict and --assist", bool(predict or assist), "device")
    if str(images) == STATS:
        from stamp_cli.annotate_stats import show_stats

        return show_stats(folders or [], json)
    if str(images) == PATCH:
        from stamp_cli.annotate_patch import save_patch

        return save_patch(folders or [], out, json)
    if folders:
        raise UsageFault(f"{folders[0]}: one folder of pictures at a time", "`stats` takes several of annotations")
    from stamp_data.web.server import open_port  # where the extra for it is missing, that is told before any work,

    open_port(port).close()  # and so is a port that is taken
    from stamp_data.annotate.hints import Model
    from stamp_data.annotate.images import Images
    from stamp_data.annotate.server import Models, open_server
    from stamp_data.annotate.store import Store
    from stamp_data.grid import check_sizes
    from stamp_data.writing import hold

    if len(by) > LONGEST:
        raise UsageFault(f"--by: a name of {len(by):,} characters", f"at most {LONGEST} are kept")
    check_sizes(min_tokens, max_tokens, factor)
    model = Model(min_tokens, max_tokens, factor, side, _counter(tokenizer))
    own = images.parent if images.is_file() else images
    folder = out or own / FOLDER
    found = Images(images, (folder,))
    if found.skipped:
        names = ", ".join(map(repr, found.skipped[:TOLD]))
        say(f"{len(found.skipped)} pictures are passed over, since no file can hold their names: {names}")
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder, "`annotate`"):
        store = Store(folder, by or _user())
        if begin:
            _begin(begin, found, folder)
        if flagged_only:
            _keep_flagged(found, store, model)
        proposer = None if predict is None else _proposer(predict, device)
        models = Models(proposer, _clicker(assist, device, folder) if assist else None)
        server = open_server(found, store, port, model, models)
        server.run(lambda address: say(f"{address}\n{len(found.names)} pictures; Ctrl-C ends it. {_next(own, folder)}"))
    return None


def _begin(sets: list[str], images: Images, folder: Path) -> None:
    from stamp_data.annotate.begin import begin_from
    from stamp_data.annotate.store import Store
    from stamp_data.shards.rejects import by_reason

    told = begin_from(sets, images, Store(folder, ", ".join(sets)[-LONGEST:]))
    where = ", ".join(sets)
    if told.listed:
        images.only(told.listed)
        say(f"{len(told.listed)} pictures are on the list; the others are not shown")
    say(f"{told.known} of {len(images.names)} pictures are in {where}; {told.begun} were begun from there")
    if told.refused:
        say(f"{len(told.refused)} pictures could not be begun; the first is {told.refused[0]}")
    if refused := by_reason(told.rejects.rows):
        first = next(row for row in told.rejects.rows if row.action == "dropped")
        say(f"not usable: {refused}; the first is {first.record} of {first.file}: {first.detail}")
    if told.sets:
        patch = shell("stamp-data", "annotate", "patch", folder, "--out", "fixes.jsonl")
        say(f"what is changed goes into a patch: E on the page, or {patch}")


def _keep_flagged(images: Images, store: Store, model: Model) -> None:
    from stamp_data.annotate.begin import flagged

    count = len(images.names)
    images.only(flagged(images, store, model))
    if not images.names:
        raise StampError(
            f"nothing is flagged in what is said of {count} pictures", "leave --flagged out to see them all"
        )
    say(f"{len(images.names)} of {count} pictures have flags")


def _proposer(checkpoint: Path, device: str) -> Proposer:
    """The model behind `--predict`; stamp_data knows it as functions."""
    from stamp_data.annotate.server import Proposer
    from stamp_train.predict import Segmenter
    from stamp_train.predict.proposals import Proposer as Asked

    hide_loading_bars()
    asked = Asked(Segmenter.from_pretrained(checkpoint, device))
    return Proposer(str(checkpoint)[-LONGEST:], asked, asked.describe)


def _clicker(spec: str, device: str, folder: Path) -> Clicker:
    """The model behind `--assist`. folder: of the annotations, where it is kept what the model sees in pictures."""
    from stamp_data.annotate.server import Clicker
    from stamp_train.predict.opening import pick_device
    from stamp_train.predict.pointing import Embeddings, open_clicks

    hide_loading_bars()
    clicks = open_clicks(spec, pick_device(device), Embeddings(folder / SEEN))
    return Clicker(spec[-LONGEST:], clicks, clicks.prepare)


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
    root = ("--root", own) if inside else ("--root", folder, "--images", own)
    return f"Next: {shell('stamp-data', 'build', 'annotations', *root, '--out', 'shards')}"
