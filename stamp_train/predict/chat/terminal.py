"""Conversations on a terminal, or between programs: a question or a command per line in, answers and file names out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.text import Text

from stamp_data.draw.palette import COLOURS
from stamp_data.text import printable
from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.predict.chat.inline import Way, show_image
from stamp_train.predict.chat.transcript import save
from stamp_train.predict.dialogue import STOPPED, Chat
from stamp_train.predict.inputs import Asked
from stamp_train.predict.segmentation import Segmentation
from stamp_train.predict.writing import MASKS, PredictionFolder

NOTES = {STOPPED: "stopped: no masks", "length": "cut off: --max-new-tokens sets the longest answer"}


class Ended(Exception):
    """The conversation is over."""


@dataclass(frozen=True)
class Command:
    """What a line that begins with `/` asks for. takes: what may follow; help: one line."""

    run: Callable[[TerminalChat, str], None]
    help: str
    takes: str = ""


class TerminalChat:
    """A conversation, line by line.

    start: begins a conversation about the picture of a path, first of `image`. folder: for masks in the layout of
    `stamp_train.predict.writing` and for what is saved; a new one, or one that conversations were kept in before: those stay.
    model: name of the checkpoint. console: for answers; talk: for one line to the person. way: how pictures are shown.
    force_mask: answers begin with a mask.
    """

    def __init__(
        self,
        start: Callable[[Path], Chat],
        image: Path,
        folder: Path,
        model: str,
        console: Console,
        talk: Callable[[str], None],
        way: Way,
        force_mask: bool = False,
    ) -> None:
        self._start, self._folder, self._model = start, folder, model
        self._console, self._talk, self._way = console, talk, way
        self._written: PredictionFolder | None = None  # made when there is something to keep
        self.image, self.force_mask = image, force_mask
        self.chat = start(image)

    def run(self, lines: Iterator[str]) -> None:
        """Answer lines until `/quit` or their end. What goes wrong with one is said, and the next one is read."""
        for line in lines:
            try:
                self.take(line.strip())
            except Ended:
                return
            except StampError as fault:
                self._talk(f"error: {fault}")
            except KeyboardInterrupt:
                self._talk("stopped")

    def take(self, line: str) -> None:
        """Do what one line asks for; Ended after `/quit`, StampError for what cannot be done."""
        name, _, rest = line.partition(" ")
        if name in COMMANDS:
            COMMANDS[name].run(self, rest.strip())
        elif line.startswith("/"):
            near = get_close_matches(name, COMMANDS, n=1)
            raise StampError(f"no command {name}", f"did you mean {near[0]}?" if near else "/help lists them")
        elif line:
            self.ask(line)

    def ask(self, question: str) -> None:
        """Ask, and print the answer as it comes; Ctrl-C stops it."""
        answer = self._stream(question)
        if answer is None:
            self._talk("stopped before the first word; the question is forgotten")
        elif answer.masks:
            self._show_masks(answer)
        elif answer.finish != STOPPED:
            self._talk("no mask: the answer has no <|seg|>; /mask forces one")
        if answer is not None and answer.finish in NOTES:
            self._talk(NOTES[answer.finish])

    def undo(self, _: str) -> None:
        """Take the last round back."""
        answer = self.chat.undo()
        if answer is None:
            raise StampError("nothing to take back")
        self._talk(f"taken back: {printable(answer.question)}")

    def change_image(self, rest: str) -> None:
        """A new conversation about another picture."""
        if not rest:
            return self._talk(str(self.image))
        image = Path(rest).expanduser()
        self.chat, self.image = self._start(image), image
        return self._talk(f"{image}: a new conversation")

    def save(self, rest: str) -> None:
        """Write the conversation, by default under the next free name of the folder."""
        paths = (self._folder / f"conversation-{number}.json" for number in count(1))
        path = Path(rest).expanduser() if rest else next(path for path in paths if not path.exists())
        save(self.chat, path, self._model, str(self.image))
        self._say(Text(f"saved: {path}"))

    def toggle_mask(self, _: str) -> None:
        """Force a mask, or no longer."""
        self.force_mask = not self.force_mask
        self._talk(f"answers {'begin with a mask' if self.force_mask else 'begin as the model likes'}")

    def help(self, _: str) -> None:
        """Say what there is."""
        width = max(len(f"{name} {command.takes}") for name, command in COMMANDS.items())
        for name, command in COMMANDS.items():
            self._talk(f"{f'{name} {command.takes}':{width}}  {command.help}")
        self._talk("Ctrl-C stops an answer, Ctrl-D ends the conversation.")

    def quit(self, _: str) -> None:
        """End."""
        raise Ended

    def _show_masks(self, answer: Segmentation) -> None:
        """Write masks and overlay, print their paths, and show the overlay where the terminal can."""
        self._written = self._written or PredictionFolder(self._folder, {"kind": "conversation"})
        names = (f"answer-{number:03d}" for number in count(1))
        name = next(name for name in names if not (self._folder / MASKS / f"{name}-1.png").exists())
        row = self._written.add(Asked(name, self.image, str(self.image), answer.question), answer)
        assert row.overlay is not None  # there are masks
        for number, (kept, mask) in enumerate(zip(row.masks, answer.masks, strict=True)):
            self._say(_mask_name(number), Text(f": {self._folder / kept.file} ({mask.mean():.1%} of the picture)"))
        self._say(Text(f"overlay: {self._folder / row.overlay}"))
        show_image(answer.overlay(), self._console, self._way)

    def _stream(self, question: str) -> Segmentation | None:
        """The answer, printed as it comes; None if it was stopped before there was any."""
        before, masks = len(self.chat.history), 0
        events = self.chat.stream(question, SEG if self.force_mask else None)
        # After Ctrl-C the chat keeps what was said so far.
        with suppress(KeyboardInterrupt), closing(events):  # type: ignore[type-var]  # it is a generator
            for event in events:
                if event.kind == "text":
                    self._print(Text(printable(event.text, "\n\t")))
                elif event.text == SEG:
                    self._print(_mask_name(masks, "[mask {}]"))
                    masks += 1
        self._say()
        return self.chat.history[-1] if len(self.chat.history) > before else None

    def _say(self, *texts: Text) -> None:
        self._print(*texts, Text("\n"))

    def _print(self, *texts: Text) -> None:
        self._console.print(*texts, sep="", end="", soft_wrap=True)
        self._console.file.flush()


COMMANDS = {
    "/save": Command(TerminalChat.save, "write the conversation as JSON, masks as RLE, and its overlays", "[FILE]"),
    "/undo": Command(TerminalChat.undo, "take the last question back"),
    "/image": Command(TerminalChat.change_image, "a new conversation about another picture", "PATH"),
    "/mask": Command(TerminalChat.toggle_mask, "let answers begin with a mask, or no longer"),
    "/help": Command(TerminalChat.help, "this list"),
    "/quit": Command(TerminalChat.quit, "end"),
}


def lines(prompt: str, talk: Callable[[str], None]) -> Iterator[str]:
    """Lines of standard input; from a person at a terminal with a prompt, editing and history."""
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # a text stream, unless someone replaced it
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from sys.stdin
        return
    with suppress(ImportError):  # not on every system; without it lines are just read
        import readline  # noqa: F401 - input() takes its editing from it
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            talk("\nCtrl-D or /quit ends the conversation")
        except EOFError:
            return talk("")


def _mask_name(number: int, form: str = "mask {}") -> Text:
    return Text(form.format(number + 1), COLOURS[number % len(COLOURS)])
