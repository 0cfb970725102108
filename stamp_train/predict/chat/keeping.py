"""Files of a conversation on the terminal: its answers' masks as they come, the whole of it when asked."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from stamp_data.writing import write_atomic
from stamp_schemas import StampError
from stamp_train.predict.chat.transcript import transcript
from stamp_train.predict.dialogue import Chat
from stamp_train.predict.segmentation import Segmentation
from stamp_train.predict.writing import MASKS, PredictionFolder


class Keeper:
    """Writes into one folder, in the layout of `stamp_train.predict.writing`; it is made when there is something to keep.

    Args:
        folder: a new one, or one that conversations were kept in before; those stay.
        model: name of the checkpoint.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self._model = folder, model
        self._written: PredictionFolder | None = None

    def keep(self, image: Path, question: str, answer: Segmentation) -> tuple[list[Path], Path]:
        """Write an answer that has masks; their files, and that of their overlay."""
        self._written = self._written or PredictionFolder(self.folder, {"kind": "conversation"})
        row = self._written.add(self._free_name(), str(image), question, answer)
        assert row.overlay is not None  # there are masks
        return [self.folder / mask.file for mask in row.masks], self.folder / row.overlay

    def save(self, chat: Chat, image: Path, path: Path | None) -> Path:
        """Write a conversation as JSON, and a picture with its masks beside it for every answer that has some.

        Args:
            chat: the conversation.
            image: its picture's path.
            path: a new file; by default the next free name of the folder.

        Raises:
            StampError: there is nothing to save, the file is there already, or cannot be written.
        """
        if not chat.history:
            raise StampError("nothing has been said yet")
        path = path or self._free_path()
        if path.exists():
            raise StampError(f"{path} is there already", "choose another name")
        saved = transcript(chat, self._model, str(image))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for number, (turn, row) in enumerate(zip(chat.history, saved.rounds, strict=True), start=1):
                if turn.answer.masks:
                    row.overlay = f"{path.stem}-{number}.jpg"
                    turn.answer.overlay().save(path.with_name(row.overlay), quality=90)
            write_atomic(path, saved.json())
        except OSError as fault:
            raise StampError(f"{path}: cannot be written: {fault.strerror}") from None
        return path

    def _free_name(self) -> str:
        names = (f"answer-{number:03d}" for number in count(1))
        return next(name for name in names if not (self.folder / MASKS / f"{name}-1.png").exists())

    def _free_path(self) -> Path:
        paths = (self.folder / f"conversation-{number}.json" for number in count(1))
        return next(path for path in paths if not path.exists())
