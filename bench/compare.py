"""Every method that is there, trained from one base on the same batches of synthetic scenes, and the table of it.

    python bench/compare.py                                  # all variants, one seed
    python bench/compare.py stamp-fine embedding-dot --seeds 3 --scenes 4000 --out bench-compare
    python bench/compare.py --set model.start=FOLDER --set model.preset=        # from another base

Renders and builds the scenes below OUT, unless they are there; then `stamp-train compare` with the recipe `compare-tiny`, which
goes on where an earlier call stopped. What is printed is its table with command and versions, and what the whole took.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

BOUNDS = ("--min-tokens", "4", "--max-tokens", "48")


def called(program: str, *arguments: str) -> int:
    """Run a command of this project, and say how long it took."""
    print(f"$ {program} {shlex.join(arguments)}", file=sys.stderr, flush=True)
    module = {"stamp-data": "data", "stamp-train": "train"}[program]
    began = time.monotonic()
    code = f"from stamp_cli.{module} import main; main()"  # without depending on PATH
    done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=False)
    print(f"  {time.monotonic() - began:.0f} s, exit code {done.returncode}", file=sys.stderr, flush=True)
    return done.returncode


def make_sets(out: Path, scenes: int) -> Path:
    """Built sets of so many scenes."""
    shards = out / "shards"
    if not shards.is_dir():
        if not (out / "playground").is_dir() and called(
            "stamp-data", "synth", str(out / "playground"), "--images", str(scenes)
        ):
            raise SystemExit(1)
        if called("stamp-data", "build", "all", "--root", str(out / "playground"), "--out", str(shards), *BOUNDS):
            raise SystemExit(1)
    return shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["all"])
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--processes", default=str(min(os.cpu_count() or 1, 2)))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--records", default="24", help="of each set that is evaluated")
    parser.add_argument("--max-new-tokens", default="512")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("bench-compare"))
    options = parser.parse_args()
    began = time.monotonic()
    shards = make_sets(options.out, options.scenes)
    changes = [word for change in (f"data.root={shards}", *options.set) for word in ("--set", change)]
    comparison = options.out / "comparison"
    asking = [
        "--records",
        options.records,
        "--max-new-tokens",
        options.max_new_tokens,
        *["--overwrite"] * options.overwrite,
    ]
    arguments = ["compare", *options.methods, "--recipe", "compare-tiny", "--seeds", options.seeds, *changes, *asking]
    code = called("stamp-train", *arguments, "--processes", options.processes, "--out", str(comparison))
    if (comparison / "table.md").is_file():
        print((comparison / "table.md").read_text(encoding="utf-8"))
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}: {time.monotonic() - began:.0f} s in all")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
