"""`python -m tools.screenshots DEMO`: every picture of README and docs, in Chromium, of what `make demo` leaves in a folder.

Pages are opened as users open them, by the commands. A comparison of two methods, of a few steps each, is made beside the demo.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from stamp_data.shards.reader import ShardSet

OUT = Path(__file__).parents[1] / "docs" / "pictures"
MOST = 150 * 1024  # bytes of a picture
DATA, TRAIN = ([sys.executable, "-c", f"from stamp_cli.{name} import main; main()"] for name in ("data", "train"))
PROBLEM = "a picture of the documentation cannot be made"


class Asked(NamedTuple):
    """A picture of a set, and a question about it."""

    name: str
    image: bytes
    text: str


def main(demo: Path) -> None:
    """Make all pictures; each replaces the one that there was."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit(f"{PROBLEM}: no chromium, chromium-browser or google-chrome on PATH")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce", bypass_csp=True
        )
        gallery(page, demo)
        annotate(page, demo, Path(temporary))
        chat(page, demo, Path(temporary))
        evaluation(page, demo)
        comparison(page, demo)
        browser.close()


def gallery(page: Any, demo: Path) -> None:
    """The gallery of two sets, and one record of it with an expression that is chosen."""
    sets = [demo / "shards" / name / "val" for name in ("refcoco-unc", "grefcoco-unc")]
    with served([*DATA, "inspect", *map(str, sets), "--serve"]) as address:
        open_page(page, address)
        page.wait_for_function("!document.getElementById('count').textContent.includes('reading')", polling=100)
        page.click("#stats summary")
        page.wait_for_timeout(800)
        keep(page, "gallery")
        page.select_option("#filter-kind", "multi")
        page.wait_for_timeout(500)
        page.click(".card >> nth=0")
        page.wait_for_timeout(500)
        keep(page, "record")


def annotate(page: Any, demo: Path, folder: Path) -> None:
    """Annotating, begun with what a set says."""
    photos = folder / "photos"
    photos.mkdir()
    place = demo / "shards/refcoco-unc/val"
    for one in asked_of(place, 4):
        (photos / one.name).write_bytes(one.image)
    with served([*DATA, "annotate", str(photos), "--by", "Ada", "--from", str(place)]) as address:
        open_page(page, address)
        page.wait_for_timeout(800)
        keep(page, "annotate")


def chat(page: Any, demo: Path, folder: Path) -> None:
    """Two questions to the model of the demo."""
    one, *_ = asked_of(demo / "shards/refcoco-unc/val", 1)
    picture = folder / one.name
    picture.write_bytes(one.image)
    with served([*TRAIN, "chat", str(demo / "run"), str(picture), "--web", "--device", "cpu"]) as address:
        open_page(page, address)
        for number, text in enumerate([one.text, "What is in this picture?"], 1):
            page.fill("#question", text)
            page.press("#question", "Enter")
            page.wait_for_function(f"document.querySelectorAll('article .note').length >= {number}", polling=100)
        page.wait_for_timeout(500)
        keep(page, "chat")


def evaluation(page: Any, demo: Path) -> None:
    """The cases of the demo's evaluation, the best first."""
    open_page(page, (demo / "evaluation/page.html").resolve().as_uri())
    page.select_option("#choose-sort", "best")
    page.evaluate("document.getElementById('cases-title').scrollIntoView()")
    page.wait_for_timeout(500)
    keep(page, "evaluation")


def comparison(page: Any, demo: Path) -> None:
    """Scenes as two methods see them after a few steps."""
    out = demo / "comparison"
    settings = (f"data.root={demo / 'shards'}", "stages.0.steps=60", "evaluation.every=20", "evaluation.records=10")
    given = [part for one in settings for part in ("--set", one)]
    command = ["compare", "stamp-patch", "stamp-fine", "--seeds", "1", "--records", "20", "--scenes", "3", *given]
    subprocess.run([*TRAIN, *command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    open_page(page, (out / "page.html").resolve().as_uri())
    page.wait_for_timeout(300)
    keep(page, "comparison")


def asked_of(place: Path, count: int) -> list[Asked]:
    """Pictures of a set with the first question about each."""
    found = []
    with ShardSet(place) as shards:
        for row in shards.rows[:count]:
            loaded = shards.load(row)
            text = next(part.text for part in loaded.record.dialogues[0].messages[0].content if part.type == "text")
            found.append(Asked(f"{row.key}.{row.image_extension}", loaded.image or b"", text))
    return found


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """The address that a command prints, while it runs."""
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        address = next((line.strip() for line in running.stderr if line.startswith("http://")), "")
        if not address:
            sys.exit(f"{PROBLEM}: {json.dumps(command[3:])} ended")
        yield address
    finally:
        running.terminate()
        running.wait()


def open_page(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("body[data-ready]")


def keep(page: Any, name: str) -> None:
    """What is seen, as docs/pictures/NAME.webp."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (90, 80, 70, 60):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= MOST:
            break
    (OUT / f"{name}.webp").write_bytes(buffer.getvalue())
    print(f"docs/pictures/{name}.webp: {buffer.tell() // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
