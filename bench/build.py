"""Speed, size and memory of `stamp-data build`, against a plain converter and against `tar` (see docs/benchmarks/data.md).

    python bench/build.py            # both parts, some five minutes
    python bench/build.py converter  # 2,000 images: against the plain converter and tar
    python bench/build.py fullsize   # 20,000 images, 200,000 annotations: memory, start, cost of a small part

Runs alternate (ours, rival, ours, …), and medians are printed, since machines drift. Processor time is the system's own
count, of all processes of a build from start to end; a build of 200 images takes a tenth more of it than a build of one, so
that what they cost is the median over pairs of runs, one after the other.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rawset import make_refer

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-c", "from stamp_cli.data import main; main()"]
WORKERS, RUNS, PAIRS, PASSES = 2, 5, 9, 2
IMAGES, TARGETS, EXPRESSIONS = 2_000, 3, 3
FULL_IMAGES, FULL_ANNOTATIONS, FULL_TARGETS, FULL_EXPRESSIONS, PART = 20_000, 200_000, 7, 1, 200
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


def main() -> None:
    parts = sys.argv[1:] or ["converter", "fullsize"]
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # orphans become ours: the server of the workers outlives the build
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        if "converter" in parts:
            against_converter(Path(folder))
        if "fullsize" in parts:
            full_size(Path(folder))


def against_converter(folder: Path) -> None:
    root = folder / "raw"
    make_refer(root, name="refcoco", images=IMAGES, targets=TARGETS, expressions=EXPRESSIONS)
    pictures = root / "refer_seg/images/coco_2014/train2014"
    ours, plain, packed, synced = folder / "ours", folder / "plain", folder / "pictures.tar", folder / "synced.tar"
    build = [*COMMAND, "build", "refcoco", "--root", str(root), "--out", str(ours), "--passes", str(PASSES)]
    rival = [sys.executable, str(HERE / "plain_converter.py"), str(root), "refcoco", str(plain), str(WORKERS)]
    tar = ["tar", "cf", str(packed), "-C", str(pictures), "."]
    tar_synced = ["sh", "-c", f"tar cf {synced} -C {pictures} . && sync {synced}"]
    build += ["--workers", str(WORKERS)]
    seconds: dict[str, list[float]] = {
        "ours": [],
        "plain": [],
        "tar": [],
        "tar, synced": [],
        "ours, cold": [],
        "tar, cold": [],
    }
    for _ in range(RUNS):
        seconds["ours"].append(timed(build, ours))
        seconds["tar"].append(timed(tar, packed))
        seconds["tar, synced"].append(timed(tar_synced, synced))
        seconds["plain"].append(timed(rival, plain))
        if forget_files():
            seconds["tar, cold"].append(timed(tar, packed))
            forget_files()
            timed([*COMMAND, "build", "--help"])  # the pictures are what is to be cold, not Python
            seconds["ours, cold"].append(timed(build, ours))
    with Watch(ours) as watched:
        timed(build, ours)
    seconds = {name: times for name, times in seconds.items() if times}
    dialogues = IMAGES * TARGETS * EXPRESSIONS * PASSES
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"\n{IMAGES:,} images of 640×480, {TARGETS} targets × {EXPRESSIONS} expressions × {PASSES} passes, {WORKERS} processes"
    )
    for name, times in seconds.items():
        print(f"  {name:12} {median[name]:6.2f} s (of {RUNS}: {min(times):.2f}–{max(times):.2f})")
    print(f"  ours takes {watched.cpu:.1f} s of processor")
    print(
        f"  dialogues/s: ours {dialogues / median['ours']:,.0f}, plain {dialogues / median['plain']:,.0f}: "
        f"{median['plain'] / median['ours']:.1f}×"
    )
    print(
        f"  against tar of the pictures: all in memory {median['ours'] / median['tar']:.1f}×; "
        f"and written through to the disk, as ours is, {median['ours'] / median['tar, synced']:.1f}×"
    )
    if "tar, cold" in median:
        print(f"  against tar of pictures that come from the disk: {median['ours, cold'] / median['tar, cold']:.1f}×")
    else:
        print("  pictures that come from the disk: not measured, which needs the right to empty the file cache")
    size, held = written(ours), written(plain)
    picture_size = sum(path.stat().st_size for path in pictures.iterdir())
    print(
        f"  beyond the pictures, bytes of files: ours {(size[0] - picture_size) / 1e6:.1f} MB, plain {held[0] / 1e6:.1f} MB: "
        f"{(size[0] - picture_size) / held[0]:.2f}×"
    )
    print(
        f"  beyond the pictures, taken on disk:  ours {(size[1] - picture_size) / 1e6:.1f} MB, plain {held[1] / 1e6:.1f} MB: "
        f"{(size[1] - picture_size) / held[1]:.2f}×"
    )


def full_size(folder: Path) -> None:
    root, out, part = folder / "full", folder / "full-out", folder / "part-out"
    make_refer(
        root,
        name="refcoco+",
        images=FULL_IMAGES,
        targets=FULL_TARGETS,
        expressions=FULL_EXPRESSIONS,
        annotations=FULL_ANNOTATIONS,
        train=PART,
    )
    json_size = (root / "refer_seg/refcoco+/instances.json").stat().st_size
    print(
        f"\nrefcoco+ of full size: {FULL_IMAGES:,} images, {FULL_ANNOTATIONS:,} annotations, "
        f"{FULL_IMAGES * FULL_TARGETS * FULL_EXPRESSIONS:,} expressions, instances.json {json_size / 2**20:.0f} MiB"
    )
    build = [*COMMAND, "build", "refcoco+", "--root", str(root), "--workers", str(WORKERS), "--out"]
    with Watch(out) as whole:
        timed([*build, str(out)], out)
    pairs = [[_watched(build, part, split) for split in ("train", "testA")] for _ in range(PAIRS)]  # 200 images; one
    small, reading = (sorted(runs, key=lambda run: run.cpu)[PAIRS // 2] for runs in zip(*pairs, strict=True))
    each = 1e3 * (whole.cpu - reading.cpu) / (FULL_IMAGES - 1)
    few = 1e3 * statistics.median(some.cpu - one.cpu for some, one in pairs) / (PART - 1)
    print(
        f"  peak memory {whole.peak / 2**20:.0f} MiB (PSS, all processes); first shard begun after {whole.first:.1f} s\n"
        f"  all: {whole.seconds:.1f} s, {whole.cpu:.1f} s of processor, of which start and reading the annotations "
        f"{reading.cpu:.1f} s; {each:.2f} ms an image beyond that\n"
        f"  {PART} of them: {small.seconds:.1f} s, {small.cpu:.1f} s of processor; "
        f"{few:.2f} ms an image beyond start and reading (medians of {PAIRS})"
    )


def _watched(build: list[str], out: Path, split: str) -> Watch:
    with Watch(out) as watched:
        timed([*build, str(out), "--split", split], out)
    return watched


def forget_files() -> bool:
    """Empty the system's file cache; False where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="utf-8")
    except OSError:
        return False
    return True


def timed(command: list[str], result: Path | None = None) -> float:
    """Wall seconds of a command; `result` is what it writes and is removed first."""
    if result is not None and result.is_dir():
        shutil.rmtree(result)
    elif result is not None:
        result.unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - start


def written(folder: Path) -> tuple[int, int]:
    """(bytes of the files, bytes of the disk blocks that they take)."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(stat.st_size for stat in stats), sum(stat.st_blocks * 512 for stat in stats)


class Watch:
    """What all processes started within the `with` block take.

    peak: memory in bytes, at most at one time. cpu: processor seconds. seconds: of the clock. first: seconds until the
    first shard is begun below `out`. `peak` and `first` are sampled every 50 ms.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.peak, self.first, self.seconds, self.cpu = out, 0, float("nan"), 0.0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Watch:
        self._before = processor_seconds()
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu = processor_seconds() - self._before
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            alive = descendants(os.getpid())
            self.peak = max(self.peak, sum(map(proportional_memory, alive)))
            if self.first != self.first and any(self.out.glob("*/*/shard-*.part")):
                self.first = time.perf_counter() - self._start


def processor_seconds() -> float:
    """User and system seconds of all descendants so far, once the last of them has ended."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def descendants(process: int) -> list[int]:
    """Process ids of all children, and of theirs."""
    found: list[int] = []
    for tasks in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, tasks.read_text(encoding="utf-8").split()):
            found += [child, *descendants(child)]
    return found


def proportional_memory(process: int) -> int:
    """PSS in bytes: shared pages are counted once over all processes that share them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # gone meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
