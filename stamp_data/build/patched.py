"""A patch applied to one record: what it was made of has to be there as it was, or nothing of it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from stamp_data import rle as rles
from stamp_data.frame import STORED, UPRIGHT, Seen, turned, upright_size
from stamp_data.patches import FiledPatch, mask_digest, phrase_digest
from stamp_data.picture import Picture
from stamp_data.text import EXPRESSION_LIMIT, TextFault, clean
from stamp_schemas import RLE, Annotation, Region, Request, Target, TargetInfo
from stamp_schemas.patch import PhraseChange, TargetChange


class Misfit(ValueError):
    """The record is not what the patch was made of, or cannot become what it says."""


@dataclass(frozen=True)
class Patching:
    """One record that is to be patched.

    annotation: with what of its requests can be built. made: the masks of their targets, by index. view: the picture as the
    annotation means it.
    """

    annotation: Annotation
    made: Mapping[int, TargetInfo]
    picture: Picture
    view: Seen

    def apply(self, filed: FiledPatch) -> tuple[Annotation, list[int]]:
        """The annotation as the patch leaves it, and the targets, by index, whose masks are others now. Misfit if it does not
        fit.
        """
        from stamp_data.sources.refer import NOTHING  # most builds have no patch

        patch, where = filed.patch, (filed.file, filed.patch.record)
        if self.annotation.conversation:
            raise Misfit("the record is a conversation, which has no phrases")
        places = self._places()
        targets = {index: self.annotation.targets[index] for index in self.made}
        changed: dict[int, tuple[RLE | None, RLE | None]] = {}
        ignored = self._ignored()
        if patch.ignore is not None:
            if patch.ignore.was != (mask_digest(ignored) if ignored else ""):
                raise Misfit("what is to be ignored is not what the patch changes")
            ignored = self._mask(patch.ignore.rle, "what is to be ignored") if patch.ignore.rle else None
            changed = {index: (info.rle if info.area else None, ignored) for index, info in self.made.items()}
        end = len(self.annotation.targets)
        for one in patch.targets:
            drawn = self._mask(one.rle, f"target {one.id}")
            index = self._place(one, places, end)
            ignore = ignored if patch.ignore is not None or not one.was else self.made[index].ignore_rle
            changed[index] = drawn, ignore
            if not one.was:
                targets[index] = Target(one.id, [], [*one.instances] or [one.id], [*one.categories])
                end += 1
        if any(one.text and not one.targets for one in patch.phrases):
            nothing = next((index for index, info in self.made.items() if not info.area), end)
            if nothing == end:
                name = next(name for name in _names(NOTHING) if name not in places)
                targets[nothing] = Target(name)
                changed[nothing] = None, ignored
            places[""] = nothing
        for index, (mask, ignore) in changed.items():
            regions = self._regions(mask, ignore, where)
            targets[index] = msgspec.structs.replace(targets[index], regions=regions)
        requests = self._requests(patch.phrases, places, where)
        listed = [targets.get(index, one) for index, one in enumerate(self.annotation.targets)]
        listed += [targets[index] for index in sorted(targets) if index >= len(listed)]
        return msgspec.structs.replace(self.annotation, targets=listed, requests=requests), [*changed]

    def _places(self) -> dict[str, int]:
        """Index of each target that is in use, by its id."""
        return {self.annotation.targets[index].id: index for index in self.made}

    def _place(self, change: TargetChange, places: dict[str, int], end: int) -> int:
        """The index of a changed target; `end` for a new one."""
        if not change.was:
            if change.id in places:
                raise Misfit(f"target {change.id} is there already")
            return places.setdefault(change.id, end)
        if change.id not in places:
            raise Misfit(f"there is no target {change.id}")
        if mask_digest(self.made[places[change.id]].rle) != change.was:
            raise Misfit(f"the mask of target {change.id} is not the one that the patch changes")
        return places[change.id]

    def _ignored(self) -> RLE | None:
        """What any target ignores, of the stored picture."""
        found = [info.ignore_rle for info in self.made.values() if info.ignore_rle]
        return rles.union(found) if found else None

    def _mask(self, mask: RLE, what: str) -> RLE:
        """A mask of the upright picture as one of the stored picture, proven to be good."""
        width, height = upright_size(self.picture)
        try:
            good = rles.checked(height, width, mask.size, mask.counts)
        except (ValueError, OverflowError) as fault:
            raise Misfit(f"{what} cannot be painted: {fault}") from None
        if not rles.area(good):
            raise Misfit(f"{what} has no pixel")
        return turned(good, STORED, self.picture.orientation)

    def _regions(self, mask: RLE | None, ignore: RLE | None, where: tuple[str, str]) -> list[Region]:
        """Regions of masks of the stored picture. What is to be ignored gives way to the mask."""
        regions = [] if mask is None else [Region(self._raw(mask), where)]
        if ignore is not None and mask is not None:
            ignore = rles.encode(rles.decode(ignore) & ~rles.decode(mask) & np.uint8(1))
        if ignore is not None and rles.area(ignore):
            regions.append(Region(self._raw(ignore), where, "ignore"))
        return regions

    def _raw(self, mask: RLE) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(turned(mask, UPRIGHT, self.view.orientation)))

    def _requests(self, phrases: list[PhraseChange], places: dict[str, int], where: tuple[str, str]) -> list[Request]:
        known = {request.id: request for request in self.annotation.requests}
        for change in phrases:
            there = known.get(change.id)
            if bool(there) != bool(change.was):
                raise Misfit(f"phrase {change.id} is {'there already' if there else 'not there'}")
            if there and phrase_digest(there.text, self._digests(there)) != change.was:
                raise Misfit(f"phrase {change.id} does not say, or name, what the patch changes")
            if not change.text:
                del known[change.id]
                continue
            try:
                clean(change.text, EXPRESSION_LIMIT, one_line=True)
                named = [places[name] for name in change.targets] or [places[""]]
            except TextFault as fault:
                raise Misfit(f"phrase {change.id}: {fault}") from None
            except KeyError as fault:
                raise Misfit(f"phrase {change.id} names target {fault.args[0]}, which is not there") from None
            form = there.form if there else "question" if change.text.endswith("?") else "phrase"
            known[change.id] = Request(change.id, change.text, named, where, form, there.answer if there else "")
        return list(known.values())

    def _digests(self, request: Request) -> list[str]:
        return [mask_digest(self.made[index].rle) for index in request.targets]


def _names(stem: str) -> list[str]:
    return [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
