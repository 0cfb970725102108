"""One annotation in, one record out: picture checked, masks made, patches labelled, dialogues written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stamp_data import rle as rles
from stamp_data.build.images import RawImages, told
from stamp_data.build.known import known
from stamp_data.build.patched import Misfit, Patching
from stamp_data.build.plan import Planned
from stamp_data.build.rounds import Joiner, grouped
from stamp_data.build.written import cleaned, written
from stamp_data.frame import Seen, seen
from stamp_data.grid import grid_of, rle_coverages
from stamp_data.instructions import draw
from stamp_data.masks import CLIPPED, RegionFault, paint
from stamp_data.patches import MISFIT, FiledPatch
from stamp_data.picture import Picture, PictureFault
from stamp_data.rle import UInt8
from stamp_data.shards.labels import labels_bytes
from stamp_data.shards.rejects import RejectLog
from stamp_data.text import EXPRESSION_LIMIT, TURN_LIMIT, TextFault, clean
from stamp_schemas import (
    Annotation,
    Content,
    Dialogue,
    Grid,
    ImageInfo,
    Message,
    Record,
    Request,
    Settings,
    SourceInfo,
    Target,
    TargetInfo,
    Turn,
)
from stamp_schemas.annotation import Where, Written
from stamp_schemas.record import RECORD_SCHEMA

_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)
TURNED = "exif-orientation"  # reason of rows about pictures that viewers turn


@dataclass(frozen=True)
class Rendered:
    """A record with its picture and labels. labels: uint8 [targets, grid height, grid width], None without targets."""

    record: Record
    picture: Picture | None
    labels: UInt8 | None

    def members(self) -> list[tuple[str, str, bytes]]:
        """(kind, file name, bytes) of the members, in the order of the tar."""
        key, members = self.record.key, []
        if self.picture is not None:
            members.append(("image", f"{key}.{self.picture.extension}", self.picture.data))
        members.append(("json", f"{key}.json", msgspec.json.encode(self.record)))
        if self.labels is not None:
            members.append(("labels", f"{key}.labels.npy", labels_bytes(self.labels)))
        return members


class Renderer:
    """Renders annotations of one set; the same annotation always gives the same bytes.

    roots: the folders that `ImageRef.root` counts. numbered: see `Source.numbered`. follow_links: pictures may lie behind
    links that lead out of these.
    """

    def __init__(
        self, roots: Sequence[Path], settings: Settings, *, numbered: bool = False, follow_links: bool = False
    ) -> None:
        self.images = RawImages([root.resolve() for root in roots], follow_links)
        self.settings = settings
        self.numbered = numbered

    def render(self, planned: Planned, rejects: RejectLog) -> Rendered | None:
        """The record that was planned, or None with rows in `rejects` that say why nothing is left of it.

        StampError if its picture is not what it was when the plan was made, OSError if the system cannot read it.
        """
        annotation, key = planned.annotation, planned.key
        patches = [] if planned.patches is msgspec.UNSET else planned.patches
        picture, grid, view = None, None, None
        if annotation.image is None:
            self.images.nothing()
        else:
            try:
                picture = self.images.planned(annotation.image, planned.picture_bytes)
                view = seen(picture, annotation.image)
                grid = self._grid(picture, annotation.image.path)
            except PictureFault as fault:
                rejects.add(
                    annotation.image.path,
                    ": ".join(annotation.where),
                    fault.reason,
                    told(fault),
                    expressions=annotation.expressions,
                )
                return None
        record = Record(RECORD_SCHEMA, key, self._source(annotation.id), _image_info(annotation, picture), grid, [], [])
        labels = None
        if annotation.conversation:
            for one in patches:
                rejects.add(one.file, key, MISFIT, "it is a conversation, which has no phrases")
            record.dialogues = self._conversation(annotation, rejects)
        else:
            assert picture is not None and view is not None and grid is not None, "requests without a picture"
            if view.note and annotation.image:
                rejects.add(annotation.image.path, ": ".join(annotation.where), TURNED, view.note, action="cleaned")
            annotation, made = self._usable(annotation, view, rejects, {})
            for one in patches:
                annotation, made = self._patched(Patching(annotation, made, picture, view), one, rejects)
            labels = self._add_requests(record, annotation, picture, view, grid, made)
        return Rendered(record, picture, labels) if record.dialogues else None

    def _usable(
        self, annotation: Annotation, view: Seen, rejects: RejectLog, made: dict[int, TargetInfo]
    ) -> tuple[Annotation, dict[int, TargetInfo]]:
        """The annotation with the requests and dialogues that can be built, and the targets that they need, by index.

        made: targets that are there already.
        """
        requests = self._clean_requests(annotation, rejects)
        dialogues = [one for one in (cleaned(dialogue, rejects) for dialogue in annotation.dialogues) if one]
        found: dict[int, TargetInfo] = {}
        lost: dict[int, str] = {}
        for index in _in_use([*requests, *dialogues]):
            try:
                found[index] = made[index] if index in made else self._target(annotation.targets[index], view, rejects)
            except RegionFault as fault:
                rejects.add(*fault.where, fault.reason, str(fault))
                lost[index] = f"{fault.where[1]} was refused: {fault.reason}"
        if lost:
            requests = [one for one in requests if self._has_targets(one, repr(one.text[:80]), lost, rejects)]
            dialogues = [one for one in dialogues if self._has_targets(one, f"dialogue {one.id}", lost, rejects)]
        return msgspec.structs.replace(annotation, requests=requests, dialogues=dialogues), found

    def _patched(
        self, patching: Patching, filed: FiledPatch, rejects: RejectLog
    ) -> tuple[Annotation, dict[int, TargetInfo]]:
        """As `_usable`, of the annotation after a patch; as it was before, with a row, if that does not fit."""
        before, made = patching.annotation, patching.made
        try:
            annotation, changed = patching.apply(filed)
        except Misfit as fault:
            rejects.add(filed.file, filed.patch.record, MISFIT, str(fault))
            return before, {**made}
        if not annotation.requests and not annotation.dialogues:
            why = "the patch leaves no phrase of this record"
            rejects.add(filed.file, filed.patch.record, "patched-away", why, expressions=len(before.requests))
        kept = {index: info for index, info in made.items() if index not in changed}
        return self._usable(annotation, patching.view, rejects, kept)

    def _add_requests(
        self,
        record: Record,
        annotation: Annotation,
        picture: Picture,
        view: Seen,
        grid: Grid,
        made: dict[int, TargetInfo],
    ) -> UInt8 | None:
        """Put the dialogues into the record, with the targets that they need; returns the labels of these.

        annotation, made: as `_usable` gives them.
        """
        asking: list[Request | Written] = [*annotation.requests, *annotation.dialogues]
        place = {index: position for position, index in enumerate(_in_use(asking))}
        record.targets = [made[index] for index in place]
        for index in place:
            made[index].where = _origin(
                annotation.targets[index], [one.where for one in asking if index in one.targets]
            )
        groups, joiner = grouped(annotation.requests, self.settings, record.key), None
        if any(len(group) > 1 for group in groups):
            joiner = Joiner(self.settings, record.key, *known(annotation, picture, view, made))
        record.dialogues = self._dialogues(annotation, groups, place, record.key, joiner)
        masks, ignores = [target.rle for target in record.targets], [target.ignore_rle for target in record.targets]
        return rle_coverages(masks, grid, ignores) if masks else None

    def _source(self, image_id: str) -> SourceInfo:
        settings = self.settings
        is_number = self.numbered and _NUMBER.fullmatch(image_id) is not None
        identity = int(image_id) if is_number else image_id
        return SourceInfo(settings.dataset, settings.split_by, settings.split, identity)

    def _grid(self, picture: Picture, path: str) -> Grid:
        try:
            return grid_of(self.settings, picture.height, picture.width)
        except ValueError as fault:
            raise PictureFault("aspect-ratio", f"{path}: {fault}") from None

    def _clean_requests(self, annotation: Annotation, rejects: RejectLog) -> list[Request]:
        kept = []
        for request in annotation.requests:
            try:
                text, removed = clean(request.text, EXPRESSION_LIMIT, one_line=True)
                answer, more = clean(request.answer, TURN_LIMIT, one_line=False) if request.answer else ("", [])
            except TextFault as fault:
                rejects.add(*request.where, fault.reason, str(fault), expressions=1)
                continue
            if removed or more:
                detail = f"taken out: {', '.join(removed + more)}"
                rejects.add(*request.where, "control-token", detail, action="cleaned")
            same = (text, answer) == (request.text, request.answer)
            kept.append(request if same else msgspec.structs.replace(request, text=text, answer=answer))
        return kept

    def _target(self, target: Target, view: Seen, rejects: RejectLog) -> TargetInfo:
        """The target with its mask; RegionFault, which names the record at fault, if that cannot be made."""
        painted = paint(target.regions, view.height, view.width)
        for note_where, reason, detail in painted.notes:
            rejects.add(*note_where, reason, detail, action="cleaned" if reason == CLIPPED else "dropped")
        mask, area = view.stored(painted.mask), rles.area(painted.mask)
        if any(region.role == "target" for region in target.regions) and not area:
            raise RegionFault("empty-mask", "its regions cover no pixel", target.regions[0].where)
        return TargetInfo(
            target.id,
            mask,
            area,
            rles.bbox(mask),
            target.instances,
            target.categories,
            view.stored(painted.ignore) if painted.ignore else None,
        )

    def _has_targets(self, asking: Request | Written, name: str, lost: dict[int, str], rejects: RejectLog) -> bool:
        """Whether every mask that is asked for could be made. lost: why not, by index of the target."""
        why = next((lost[index] for index in asking.targets if index in lost), "")
        if why:
            rejects.add(*asking.where, "target-refused", f"{name}: {why}", expressions=1)
        return not why

    def _dialogues(
        self,
        annotation: Annotation,
        groups: list[list[Request]],
        place: dict[int, int],
        key: str,
        joiner: Joiner | None,
    ) -> list[Dialogue]:
        """One dialogue per group of requests and pass, then the written ones; evaluation splits are never drawn twice."""
        found = []
        for number in range(self.settings.passes if self.settings.split == "train" else 1):
            found += [
                joiner.join(group, number, place)
                if joiner and len(group) > 1
                else self._single(group[0], number, place, key)
                for group in groups
            ]
            found += [written(one, number, place) for one in annotation.dialogues]
        return found

    def _single(self, request: Request, number: int, place: dict[int, int], key: str) -> Dialogue:
        """The dialogue of one request in pass `number`."""
        name = f"{request.id}-p{number}"
        question, answer = draw(request, key, name, self.settings.seed, self.settings.wording)
        messages = [
            Message("user", [Content("image"), Content("text", question)]),
            Message("assistant", [Content("text", answer)]),
        ]
        return Dialogue(name, request.text, [place[i] for i in request.targets], messages, [*request.where])

    def _conversation(self, annotation: Annotation, rejects: RejectLog) -> list[Dialogue]:
        messages = []
        for turn in annotation.conversation:
            try:
                text, removed = clean(turn.text, TURN_LIMIT, one_line=False)
            except TextFault as fault:
                detail = f"{turn.role} turn: {fault}"
                rejects.add(*annotation.where, fault.reason, detail, expressions=1)
                return []
            if removed:
                detail = f"taken out of {turn.role} turn: {', '.join(removed)}"
                rejects.add(*annotation.where, "control-token", detail, action="cleaned")
            messages.append(_message(turn, text))
        return [Dialogue("0", "", [], messages, [*annotation.where])]


def _message(turn: Turn, text: str) -> Message:
    content = [Content("text", text)]
    if turn.has_image:
        content.insert(0 if turn.has_image == "before" else 1, Content("image"))
    return Message(turn.role, content)


def _in_use(asking: Sequence[Request | Written]) -> list[int]:
    """Target indices that requests and dialogues refer to, in their original order."""
    return sorted({index for one in asking for index in one.targets})


def _origin(target: Target, requests: list[Where]) -> list[str]:
    """The file of a target's regions and their records in it; without regions, those of the `requests` that say so."""
    places = [region.where for region in target.regions if region.role == "target"] or requests
    places += [region.where for region in target.regions if region.role == "ignore"]
    return [places[0][0], *dict.fromkeys(record for _, record in places)] if places else []


def _image_info(annotation: Annotation, picture: Picture | None) -> ImageInfo | None:
    if annotation.image is None or picture is None:
        return None
    return ImageInfo(annotation.image.path.rpartition("/")[2], picture.width, picture.height)
