"""What is asked for: pictures, folders of pictures, and lists of requests, as people and programs name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from xxhash import xxh3_64_hexdigest

from stamp_data.picture import EXTENSIONS, PictureFault, inside
from stamp_schemas import StampError, UsageFault
from stamp_train.predict.requests import Request, question

LIST = ".jsonl"
MAX_ROW = 2**20  # bytes of one line of a list
_PICTURES = frozenset(f".{extension}" for extension in (*EXTENSIONS.values(), "jpeg", "tiff"))


class Asked(msgspec.Struct, frozen=True):
    """One request. id: unlike any other; image: the picture's file; shown: its name in results; prompt: word for word."""

    id: str
    image: Path
    shown: str
    prompt: str

    def request(self) -> Request:
        """As the segmenter takes it."""
        return Request(self.image, self.prompt, self.shown)


class Row(msgspec.Struct, frozen=True):
    """One line of a list of requests; other keys are passed over.

    image: path of the picture, relative to the list's root. text: what is asked, word for word; or expression: what to
    segment. id: by default made of picture and question.
    """

    image: str
    text: str = ""
    expression: str = ""
    id: str | int = ""


def read_requests(
    inputs: Sequence[Path], texts: Sequence[str], expressions: Sequence[str], root: Path | None = None
) -> Iterator[Asked | StampError]:
    """All requests, those about one picture one after another; faults in the place of what cannot be asked.

    inputs: pictures, folders of them (searched in depth, in the order of their names), lists of requests (`.jsonl`). texts,
    expressions: questions about, and things to segment in, every picture that is not of a list. root: folder that the paths
    in lists begin at and must not leave; by default that of the list. UsageFault for pictures without a question, questions
    without a picture, or a question without a word.
    """
    if not all(prompt.strip() for prompt in (*texts, *expressions)):
        raise UsageFault("--text and --expression take words, and one of them has none")
    prompts = [_text(prompt) for prompt in (*texts, *map(question, expressions))]
    plain = [path for path in inputs if path.suffix != LIST]
    if plain and not prompts:
        raise UsageFault(f"{plain[0]}: nothing is asked", "--text 'What is this?', or --expression 'left dog'")
    if prompts and not plain:
        raise UsageFault("--text and --expression ask about pictures, and none is named")
    return _numbered(request for path in inputs for request in _of_input(path, prompts, root))


def _numbered(found: Iterator[Asked | StampError]) -> Iterator[Asked | StampError]:
    """The same without requests that are there twice; two different ones of one id are a fault."""
    seen: dict[str, Asked] = {}
    for asked in found:
        if isinstance(asked, StampError):
            yield asked
            continue
        before = seen.setdefault(asked.id, asked)
        if before is asked:
            yield asked
        elif before != asked:
            yield StampError(f"{asked.shown}: id {asked.id!r} is that of another request", "give every request its own")


def _of_input(path: Path, prompts: Sequence[str], root: Path | None) -> Iterator[Asked | StampError]:
    if path.suffix == LIST:
        yield from _grouped(_of_list(path, root))
    elif path.is_dir():
        pictures = sorted(file for file in path.rglob("*") if file.suffix.lower() in _PICTURES and not file.is_dir())
        if not pictures:
            yield StampError(f"{path}: holds no picture", f"pictures end in {', '.join(sorted(_PICTURES))}")
        for file in pictures:  # one that is a link may lead nowhere
            yield from _about(file, prompts) if file.is_file() else [StampError(f"{file}: no such file")]
    elif path.is_file():
        yield from _about(path, prompts)
    else:
        yield StampError(f"{path}: no such file")


def _about(file: Path, prompts: Sequence[str]) -> Iterator[Asked]:
    shown = _text(str(file))
    for prompt in prompts:
        yield Asked(_id(shown, prompt), file, shown, prompt)


def _of_list(path: Path, root: Path | None) -> Iterator[Asked | StampError]:
    folder = (root or path.parent).resolve()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_ROW + 1), b""), start=1):
                if len(line) > MAX_ROW:
                    yield StampError(
                        f"{path}:{number}: a line of more than {MAX_ROW >> 20} MiB; nothing after it is read"
                    )
                    return
                if line.strip():
                    yield _of_row(line, f"{path}:{number}", folder)
    except OSError as fault:
        yield StampError(f"{path}: {fault.strerror}")


def _of_row(line: bytes, where: str, root: Path) -> Asked | StampError:
    try:
        row = msgspec.json.decode(line, type=Row)
        image = Path(inside(root, row.image))
    except (msgspec.MsgspecError, UnicodeDecodeError, PictureFault) as fault:
        hint = "--image-root names the folder that paths begin at" if isinstance(fault, PictureFault) else ""
        return StampError(f"{where}: {fault}", hint)
    if bool(row.text.strip()) == bool(row.expression.strip()):
        return StampError(f"{where}: needs either text or expression")
    prompt = row.text or question(row.expression)
    return Asked(str(row.id) or _id(row.image, prompt), image, row.image, prompt)


def _grouped(found: Iterator[Asked | StampError]) -> Iterator[Asked | StampError]:
    """Requests about one picture together, pictures in the order in which they first appear; faults first."""
    groups: dict[Path, list[Asked]] = {}
    for asked in found:
        if isinstance(asked, StampError):
            yield asked
        else:
            groups.setdefault(asked.image, []).append(asked)
    for group in groups.values():
        yield from group


def _text(given: str) -> str:
    """What the command line gave, without the bytes that are no text."""
    return given.encode(errors="replace").decode()


def _id(image: str, prompt: str) -> str:
    both = f"{image}\0{prompt}".encode()
    return f"{Path(image).stem}-{xxh3_64_hexdigest(both)[:12]}"
