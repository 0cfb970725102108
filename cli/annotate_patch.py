"""`stamp-data annotate patch`: what a review changed, for `build --patch`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stamp_cli.console import print_json, say, shell
from stamp_data.annotate.review import Changes, write_patch
from stamp_schemas import UsageFault

TOLD = 5  # names


def save_patch(folders: Sequence[Path], out: Path | None, json: bool) -> None:
    """Write the changes of a folder of annotations to a file, and say what they are."""
    if len(folders) != 1 or out is None:
        raise UsageFault("patch takes one folder of annotations, and --out FILE", "annotate patch FOLDER --out FILE")
    if out.is_dir():
        raise UsageFault(f"--out {out}: a folder is there", "name a file, as fixes.jsonl")
    found = write_patch(folders[0], out)
    if json:
        print_json(
            {
                "file": str(out),
                "reviewed": found.reviewed,
                "records": _counts(found),
                "open": found.open,
                "damaged": found.damaged,
            }
        )
    else:
        print(f"{out}: {_told(found)}")
    if found.open:
        names = ", ".join(found.open[:TOLD]) + ", …" * (len(found.open) > TOLD)
        say(f"left out are {len(found.open):,} pictures with changes that nobody has accepted: {names}")
    for line in found.damaged:
        say(f"passed over: {line}")
    sources = dict.fromkeys(patch.set.partition("/")[0].partition("-")[0] for patch in found.patches)
    build = shell("stamp-data", "build", *sources, "--root", "ROOT", "--out", "shards", "--patch", out, "--overwrite")
    say(f"Next: {build}")


def _counts(found: Changes) -> dict[str, int]:
    return dict(sorted(Counter(patch.set for patch in found.patches).items()))


def _told(found: Changes) -> str:
    records = ", ".join(f"{count:,} records of {name}" for name, count in _counts(found).items())
    targets = [one for patch in found.patches for one in patch.targets]
    phrases = [one for patch in found.patches for one in patch.phrases]
    parts = {
        "masks changed": sum(bool(one.was) for one in targets),
        "masks added": sum(not one.was for one in targets),
        "phrases changed": sum(bool(one.was and one.text) for one in phrases),
        "phrases added": sum(not one.was for one in phrases),
        "phrases removed": sum(not one.text for one in phrases),
    }
    told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count) or "other regions to ignore"
    return f"{records}: {told}; {found.reviewed:,} pictures were reviewed"
