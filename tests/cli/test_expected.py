"""What the system refuses is one line with the name of the file and what to do about it, whatever the command."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stamp_cli.console import one_line
from stamp_cli.expected import EXPECTED, REMEDIES, expected
from stamp_schemas import StampError, UsageFault
from stamp_schemas.errors import naming

FULL = Path("/dev/full")


def stamp(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """`stamp-data ARGUMENTS…` as a process of its own."""
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", *map(str, arguments)]
    settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload, no-any-return]


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line of a command that failed, with its hint."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.stderr
    return "\n".join(line for line in lines if line.startswith(("error: ", "hint: ")))


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_every_error_number_has_its_line(code: int) -> None:
    with pytest.raises(OSError, match="some/file") as raised, naming("some/file"):
        raise OSError(code, os.strerror(code))
    fault = expected(raised.value)
    assert fault is not None
    assert (fault.message, fault.hint, fault.exit_code) == (f"some/file: {os.strerror(code)}", REMEDIES[code], 1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "a.png"), "a.png: No such file"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"gr\xfc\xdfe"), "gr\\xfc\\xdfe: No such file"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "from", None, "to"), "to: Is a directory"),
        (OSError("first line\nsecond line"), "first line"),
        (MemoryError(), "out of memory"),
        (UsageFault("wrong", "right"), "wrong"),
    ],
)
def test_what_is_said(fault: Exception, message: str) -> None:
    line = expected(fault)
    assert line is not None
    assert line.message == message


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyError("a bug"), AssertionError(), ZeroDivisionError()])
def test_bugs_are_not_dressed_up(fault: Exception) -> None:
    assert expected(fault) is None


def test_the_most_special_kind_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Special(OSError):
        pass

    name = f"{Special.__module__}.{Special.__qualname__}"
    monkeypatch.setitem(EXPECTED, name, lambda _: StampError("special"))
    assert str(expected(Special("x"))) == "special"


def test_a_name_that_is_known_already_stays() -> None:
    with pytest.raises(FileNotFoundError) as raised, naming("outer"):
        Path("missing").read_bytes()
    assert raised.value.filename == "missing"
    with pytest.raises(OSError, match=r"^just a text$"), naming("outer"):
        raise OSError("just a text")


def test_a_name_that_stands_for_another_is_not_told() -> None:
    with pytest.raises(FileNotFoundError) as raised, naming("out", ".out.7.part"):
        Path(".out.7.part/below/a.png").write_bytes(b"")
    assert raised.value.filename == "out/below/a.png"


def test_no_text_can_steer_the_terminal() -> None:
    assert one_line("a\nb\x1b[2J\x07 größe") == "a\\nb\\x1b[2J\\x07 größe"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 KiB."""
    point = tmp_path / "disk"
    point.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", point], check=False).returncode
    ):
        pytest.skip("mounting a small file system takes root")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


def test_full_disk_in_synth(small_disk: Path) -> None:
    line = told(stamp("synth", small_disk / "raw", "--images", 60))
    assert "No space left on device" in line
    assert str(small_disk / "raw") in line
    assert "make room" in line


def test_read_only_disk_in_synth(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    line = told(stamp("synth", small_disk / "raw", "--images", 60))
    assert "Read-only file system" in line
    assert "can be written to" in line


@pytest.mark.parametrize("out", ["file", "file/below", "/dev/null/below", "x" * 300])
@pytest.mark.parametrize("command", ["synth", "build"])
def test_odd_places_to_write_to(command: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    if command == "synth":
        done = stamp("synth", out, "--images", 60, cwd=tmp_path)
    else:
        root = _tiny(tmp_path)
        done = stamp("build", "coco", "--root", root, "--out", out, "--workers", 1, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert out.partition("/below")[0] in done.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_full_standard_output_is_one_line_and_an_exit_code() -> None:
    with FULL.open("w", encoding="utf-8") as full:
        done = stamp("explain", "STP-W003", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert "No space left on device" in told(done)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_full_standard_error_still_ends_in_order(tmp_path: Path) -> None:
    with FULL.open("w", encoding="utf-8") as full:
        done = stamp("verify", tmp_path / "nothing", stderr=full, stdout=subprocess.PIPE, capture_output=False)
    assert done.returncode in (1, 2)


def test_names_that_are_no_text_are_printed_as_escapes(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/gr\xfc\xdfe\n"
    os.mkdir(folder)  # noqa: PTH102 - the name is bytes
    (Path(os.fsdecode(folder)) / "manifest.json").write_text("{")
    for more in ((), ("--json",)):
        done = stamp("verify", os.fsdecode(folder), *more)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "gr" in done.stdout


def test_a_terminal_of_few_letters_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    done = stamp("verify", tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def _tiny(root: Path) -> Path:
    """One picture with one object, as COCO has it."""
    from PIL import Image

    Image.new("RGB", (64, 48)).save(root / "1.png")
    path = root / "instances.json"
    path.write_text(
        '{"images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}],'
        ' "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1,1,20,1,20,20,1,20]]}],'
        ' "categories": [{"id": 1, "name": "cat"}]}'
    )
    return path
