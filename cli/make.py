"""`stamp-data synth`, `doctor` and `build`."""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stamp_cli.console import INTERRUPTED, print_json, progress_bar, say, shell

if TYPE_CHECKING:
    from stamp_data.executors import Executor

Root = Annotated[
    Path,
    typer.Option(
        "--root", "-r", help="Folder with refer_seg/, reason_seg/, …; your own data; or hf:OWNER/NAME, of Parquet."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Images = Annotated[
    list[Path] | None,
    typer.Option("--images", help="Folder to look for pictures in first, by the end of their paths; may be repeated."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read pictures also behind links that lead out of the root.")
]
Patches = Annotated[
    list[Path] | None,
    typer.Option("--patch", help="Changes of single records, of `annotate patch`; may be repeated, in the order made."),
]
Workers = Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes; one per core if not given.")]


Encoding = Annotated[str, typer.Option(help="Encoding of raw JSON files that are not UTF-8, for example gbk.")]
Crowds = Annotated[
    Literal["ignore", "instance"],
    typer.Option(help="COCO's iscrowd 1: neither for nor against; or an ordinary RLE, as in files of CVAT."),
]


def synth(
    out: Annotated[Path, typer.Argument(help="New folder for the playground.")],
    images: Annotated[int, typer.Option(min=1, help="Scenes to render, over all families.")] = 400,
    size: Annotated[str, typer.Option(help="Size of the pictures, WIDTHxHEIGHT in pixels.")] = "256x192",
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other scenes.")] = 0,
    workers: Workers = None,
) -> None:
    """Render a small playground: every dataset family in its real raw format, with scenes of which all that is said is true."""
    from stamp_data.executors.local import usable_cores
    from stamp_data.synth import synthesize
    from stamp_schemas import UsageFault
    from stamp_schemas.errors import naming

    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 64):
        raise UsageFault(f"--size {size!r} is not WIDTHxHEIGHT of 64 pixels or more", "for example --size 256x192")
    try:
        with progress_bar() as report, naming(out):
            synthesize(
                out,
                images=images,
                size=(int(width), int(height)),
                seed=seed,
                workers=workers or usable_cores(),
                progress=lambda done, total: report(done, total, "rendering"),
            )
    except KeyboardInterrupt:
        say(f"stopped; {out} is not whole: remove it before the same command is given again")
        raise typer.Exit(INTERRUPTED) from None
    print(f"{out}: {images} scenes")
    say(f"Next: {shell('stamp-data', 'build', 'all', '--root', out, '--out', 'shards')}")


def build(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…",
            help="refcoco refcoco+ refcocog refclef grefcoco reason_seg llava; for your own data annotations (of `annotate`), "
            "coco, labelme, refer (with --name), label_studio, cvat, masks (PNG and a table), yolo, via, saco, "
            "refcoco_parquet, reason_seg_parquet, lvis, sa1b, sa2va, setcon, phrasecut, ade20k, coco_stuff, pascal_part; or "
            "`all` for whatever is under ROOT.",
        ),
    ],
    root: Root,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    images: Images = None,
    follow_links: FollowLinks = False,
    split: Annotated[list[str] | None, typer.Option(help="Only these splits; all if not given.")] = None,
    split_by: Annotated[str, typer.Option(help="unc, google, umd or berkeley; the usual one if not given.")] = "",
    name: Annotated[str, typer.Option(help="What `refer` is: the folder of your own set in REFER's format.")] = "",
    passes: Annotated[int, typer.Option(min=1, help="Draw each training expression this often (published: 2).")] = 1,
    rounds: Annotated[
        int, typer.Option(help="Join requests of a picture to dialogues of up to so many rounds; 1 joins none.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the questions and answers drawn.")] = 0,
    wording: Annotated[
        Literal["paper", "published"], typer.Option(help="Questions and answers as in the paper or the published code.")
    ] = "paper",
    min_tokens: Annotated[int, typer.Option(min=1, help="Fewest merged patches per picture.")] = 1024,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most merged patches per picture.")] = 1280,
    factor: Annotated[
        int, typer.Option(help="Pixels per merged patch: 28 for Qwen2-VL and 2.5, 32 for Qwen3-VL.")
    ] = 28,
    shard_records: Annotated[int, typer.Option(min=1, help="Most records per shard.")] = 512,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a tokenizer; its token counts then go into the index.")
    ] = None,
    encoding: Encoding = "",
    crowd: Crowds = "ignore",
    patch: Patches = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="Leave out the records of this list, of `inspect --tags`; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Rebuild a folder that was built with other settings.")] = False,
    workers: Workers = None,
    executor: Annotated[
        Literal["local", "ray", "slurm"],
        typer.Option(help="Where shards are made: here, on a Ray cluster, by an array job of Slurm. The same bytes."),
    ] = "local",
    slurm: Annotated[str, typer.Option(help="Options of sbatch, such as 'partition=cpu time=02:00:00 cpus=4'.")] = "",
    json: Json = False,
) -> None:
    """Build shard sets. A build that was stopped goes on where it was when the same command is given again."""
    from stamp_schemas import UsageFault

    if min_tokens > max_tokens:
        raise UsageFault(f"--min-tokens {min_tokens} is more than --max-tokens {max_tokens}")
    gc.disable()  # what is read is kept to the end, and nothing made of it is a cycle: looking for them costs 4% of a build
    runner = _executor(executor, workers, slurm)  # first, so that its processes start while this one is still importing
    built = []
    try:
        from stamp_data.build.jobs import Job, run_job

        root, follow_links = folder_of_root(root, names, follow_links)
        job = Job(
            names=tuple(names),
            root=root,
            out=out,
            splits=tuple(split or ()),
            split_by=split_by,
            own_name=name,
            seed=seed,
            passes=passes,
            rounds=rounds,
            min_tokens=min_tokens,
            max_tokens=max_tokens,
            factor=factor,
            wording=wording,
            shard_records=shard_records,
            tokenizer=tokenizer,
            encoding=encoding,
            crowd=crowd,
            images=tuple(images or ()),
            follow_links=follow_links,
            overwrite=overwrite,
            patches=tuple(patch or ()),
            exclude=tuple(exclude or ()),
        )
        with progress_bar() as report:
            for result in run_job(job, runner, report):
                built.append(result)
                say(result.summary()) if json else print(result.summary(), flush=True)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said; another Ctrl-C would only disturb the clearing up
        say("stopped; the same command goes on from here: finished shards are kept")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        runner.close()
        if json:  # also what was built beside a set that could not be
            sets = [{"folder": str(result.folder), "totals": result.manifest.totals} for result in built]
            print_json({"sets": sets})
    say(f"Next: {shell('stamp-data', 'inspect', out)}")


def folder_of_root(root: Path, names: Sequence[str], follow_links: bool) -> tuple[Path, bool]:
    """The folder that a root stands for, and whether its files may be links that lead out of it."""
    if not str(root).startswith("hf:"):
        return root, follow_links
    from stamp_data.hub.raw import located

    say(f"{root}: asking the hub")
    found = located(root, names, follow_links)
    say(f"{root}: {found.folder}")
    return found


def _executor(kind: str, workers: int | None, slurm: str) -> Executor:
    """Whoever runs the tasks; only what is asked for is imported."""
    from stamp_schemas import UsageFault

    if slurm and kind != "slurm":
        raise UsageFault("--slurm is for --executor slurm")
    if kind == "ray":
        from stamp_data.executors.ray import RayExecutor

        return RayExecutor(workers)
    if kind == "slurm":
        from stamp_data.executors.slurm import SlurmExecutor, parse_slurm

        return SlurmExecutor(workers, parse_slurm(slurm))
    from stamp_data.executors.local import LocalExecutor, usable_cores

    return LocalExecutor(workers or usable_cores())


def doctor(
    root: Annotated[Path, typer.Argument(help="Folder with refer_seg/, reason_seg/, …; or hf:OWNER/NAME, of Parquet.")],
    images: Images = None,
    follow_links: FollowLinks = False,
    encoding: Encoding = "",
    crowd: Crowds = "ignore",
    tokenizer: Annotated[Path | None, typer.Option(help="Folder of a tokenizer that is to count tokens.")] = None,
    json: Json = False,
) -> None:
    """Say which datasets are there, whole and readable, what is missing and where it comes from.

    Exit 1 where something is broken or only half there, or where nothing is.
    """
    from stamp_data.build.jobs import checked_encoding, checked_images
    from stamp_data.doctor import examine
    from stamp_data.sources import Reading

    root, follow_links = folder_of_root(root, (), follow_links)
    with progress_bar() as report:
        report(0, 0, f"examining {root}")
        pictures = checked_images(images or ())
        result = examine(root, tokenizer, Reading(checked_encoding(encoding), crowd, pictures, follow_links))
    if json:
        print_json(result)
    else:
        from stamp_cli.doctor_page import show

        show(result)
    if result.worst == "error":
        raise typer.Exit(1)
