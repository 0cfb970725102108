"""Pictures of the pages for README and docs, made anew by `make screenshots`: synthetic scenes, real pages, a real browser.

    python -m tools.screenshots CHECKPOINT

CHECKPOINT answers in the picture of the chat, such as the run that `make demo` leaves.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.images import Images
from stamp_data.annotate.server import open_server as open_annotate
from stamp_data.annotate.store import Store
from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.inspect.gallery import write_gallery
from stamp_data.synth import synthesize
from stamp_data.web.server import LoopbackServer
from stamp_train.eval.page import write_page
from stamp_train.eval.representation import Representation
from stamp_train.eval.session import Asked, Session
from stamp_train.predict import Segmenter
from stamp_train.predict.chat.conversations import Conversations
from stamp_train.predict.chat.server import open_server as open_chat
from stamp_train.predict.image import open_image

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCENES, SIZE, SET = 120, (1280, 800), "refcoco-unc"
Act = Callable[[Any], object]


def main(checkpoint: Path) -> None:
    """Write docs/gallery.png, docs/annotate.png, docs/chat.png and docs/evaluation.png."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = Path(temporary)
        shards = made(folder)
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        write_gallery([shards], folder / "gallery.html", max_images=40)
        shoot(browser, (folder / "gallery.html").as_uri(), "gallery", lambda page: page.click("#stats summary"))
        shoot(
            browser, evaluated(folder, shards / "val"), "evaluation", lambda page: page.locator(".case").nth(2).click()
        )
        pictures = folder / "photos"
        pictures.mkdir()
        for picture in sorted((folder / "raw").rglob("*.jpg"))[:12]:
            shutil.copy(picture, pictures)
        images, store = Images(pictures), Store(folder / "annotations", "Ada")
        begin_from([str(shards)], images, store)
        with running(open_annotate(images, store)) as address:
            shoot(browser, address, "annotate", lambda page: page.wait_for_timeout(800))
        first = sorted(pictures.iterdir())[0]
        talk = Conversations(
            Segmenter.from_pretrained(checkpoint), checkpoint.name, (open_image(first), first.name), {}
        )
        with running(open_chat(talk)) as address:
            shoot(browser, address, "chat", ask)
        browser.close()


def made(folder: Path) -> Path:
    """Shard sets of synthetic scenes."""
    synthesize(folder / "raw", images=SCENES, size=(480, 360), seed=1, workers=2)
    with closing(LocalExecutor(2)) as executor:
        list(run_job(Job(names=("refcoco",), root=folder / "raw", out=folder / "shards"), executor, lambda *_: None))
    return folder / "shards" / SET


def evaluated(folder: Path, shards: Path) -> str:
    """The address of an evaluation of what labels can reach."""
    kinds = [Representation("soft", 1)]
    session = Session(Asked(checkpoint=None, shards=[shards], out=folder / "out", labels=kinds))
    session.work(lambda *_: None)
    write_page(folder / "out", *session.results(), session.sets, "stamp")
    return (folder / "out" / "page.html").as_uri()


def ask(page: Any) -> None:
    """A question whose answer has a mask."""
    page.click("#force")
    page.fill("#question", "Please segment the largest object in this image.")
    page.press("#question", "Enter")
    page.wait_for_selector("article .note", state="attached")


def shoot(browser: Any, address: str, name: str, act: Act) -> None:
    """Write docs/NAME.png after something was done on the page."""
    page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    act(page)
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.screenshot(path=DOCS / f"{name}.png")
    page.close()
    print(f"docs/{name}.png")


@contextmanager
def running(server: LoopbackServer) -> Iterator[str]:
    """A page's server in a thread; its address."""
    thread = Thread(target=server.run)
    thread.start()
    yield server.address
    server.stop()
    thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
