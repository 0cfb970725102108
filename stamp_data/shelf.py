"""The pictures of one dataset, by what its annotations say of them: files below its folders, or inside annotation files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stamp_data.picture import LinkFault, Picture, PictureFault, check_picture, read_file
from stamp_schemas import ImageRef


class _Embedding(msgspec.Struct):
    """What of a labelme file is wanted here."""

    data: str = msgspec.field(name="imageData")


_EMBEDDING = msgspec.json.Decoder(_Embedding)


@dataclass(frozen=True)
class Shelf:
    """roots: the folders that `ImageRef.root` counts, resolved. follow_links: links may lead out of them."""

    roots: Sequence[Path]
    follow_links: bool = False

    def picture(self, image: ImageRef) -> Picture:
        """The picture, read and checked; PictureFault says what is wrong with it, and `told` what to do."""
        data = read_file(self.roots[image.root], image.embedded or image.path, self.follow_links)
        return check_picture(embedded(data, image.embedded) if image.embedded else data, image.path)


def embedded(data: bytes, name: str) -> bytes:
    """The picture in a labelme file. name: of the file. PictureFault if there is none."""
    try:
        return base64.b64decode(_EMBEDDING.decode(data).data, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError):
        raise PictureFault("picture-broken", f"{name}: its imageData is no picture in base64") from None


def told(fault: PictureFault) -> str:
    """The fault with its remedy, as far as options of `build` and `doctor` are one."""
    if isinstance(fault, LinkFault):
        return f"{fault}; --follow-links follows it"
    if fault.reason == "picture-missing":
        return f"{fault}; --images DIR names the folder that it lies in"
    return str(fault)
