"""What a COCO file says about one picture.

An annotation's phrases are its `expression` or `expressions`, else its `caption`, else the name of its category. With
`no_target: true` they name nothing in the picture. `iscrowd` 1 is COCO's own: the region counts neither for nor against
what its phrases name. Our own export says more: `ignored_by` gives such a region to one annotation, and `refs` hold the
dialogues, which then are the phrases of the annotations that they name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.instances import Instances
from stamp_data.sources.jsonfile import EMPTY
from stamp_data.sources.phrases import Naming
from stamp_data.sources.refer import NOTHING, make_unique
from stamp_data.sources.rows import AnnotationRow, RefRow
from stamp_schemas import Region, Request, Target
from stamp_schemas.annotation import Role

NO_TARGET = "-1"


@dataclass
class Page:
    """One picture's entries: positions of its annotations, and refs with their positions."""

    annotations: list[int] = field(default_factory=list)
    refs: list[tuple[int, RefRow]] = field(default_factory=list)


def by_picture(instances: Instances, rejects: RejectLog) -> dict[str, Page]:
    """Pages by image id, in the order of the file; rows for dialogues that are about no picture."""
    pages: dict[str, Page] = {}
    for position, row in instances.annotations.items():
        pages.setdefault(str(row.image_id), Page()).annotations.append(position)
    for position, ref in enumerate(instances.refs):
        if ref.image_id is None:
            rejects.add(instances.name, f"refs[{position}]", "conversation-skipped", "no picture", expressions=1)
        else:
            pages.setdefault(str(ref.image_id), Page()).refs.append((position, ref))
    return pages


class CocoPhrases:
    """Reads the pages of one file. crowds: whether `iscrowd` means what it means in COCO's own files. ignored: how many."""

    def __init__(self, instances: Instances, rejects: RejectLog, *, crowds: bool) -> None:
        self.instances = instances
        self.rejects = rejects
        self.crowds = crowds
        self.ignored = 0
        names = Counter(row.file_name for row in instances.images.values())
        self._listed_again = {name for name, times in names.items() if times > 1}

    def read(self, image_id: str, page: Page) -> tuple[list[Target], list[Request], list[Target]]:
        """Targets, requests and others, as of `Annotation`; no request, and rows in `rejects`, if nothing is left."""
        naming = Naming(self.instances.name, f"image {image_id}", self.rejects)
        own = _OwnRefs(self, image_id, page)
        for position in page.annotations:
            row = self.instances.annotations[position]
            if row.ignored_by is None and position not in own.named:
                self._take(position, row, image_id, naming)
        targets, requests = naming.ask()
        own.add(targets, requests)
        others = naming.others(targets) + own.others()
        make_unique(requests)
        make_unique(targets)
        return targets, requests, others

    def tell_of_crowds(self) -> None:
        """One row for all of them: where iscrowd means no more than an RLE, phrases now lack a part."""
        if self.ignored:
            what = f"{self.ignored:,} with iscrowd 1 count neither for nor against what they are called"
            detail = f"{what}; --crowd instance takes them for ordinary ones"
            self.rejects.add(self.instances.name, "annotations", "crowd-ignored", detail, action="cleaned")

    def record(self, position: int) -> str:
        """How rows call an annotation: by its id if that tells which it is, else by its place."""
        identity = self._own_id(position)
        return f"annotation {identity}" if identity is not None else f"annotations[{position}]"

    def instance(self, position: int) -> str:
        """What an annotation is called as an instance: its id if no other has it."""
        identity = self._own_id(position)
        return f"n{position}" if identity is None else identity

    def _own_id(self, position: int) -> str | None:
        """The id of an annotation, None if it has none, or another has it too."""
        identity = self.instances.annotations[position].id
        alone = identity is not None and len(self.instances.positions(str(identity))) == 1
        return str(identity) if alone else None

    def region(self, position: int, role: Role) -> Region:
        """The region of an annotation; RecordFault if it has none."""
        fault = self.instances.faulty.get(position)
        if fault is not None:
            raise fault
        where = self.instances.name, self.record(position)
        return Region(self.instances.annotations[position].segmentation, where, role)

    def _take(self, position: int, row: AnnotationRow, image_id: str, naming: Naming) -> None:
        """Give an annotation to the phrases that it bears."""
        record = self.record(position)
        phrases = naming.clean(self._phrases(position, row, image_id), record)
        if not phrases:
            naming.pass_over(record)
            return
        if row.no_target:
            if position not in self.instances.faulty and bytes(row.segmentation) not in EMPTY:
                fault = RecordFault("contradictory-phrase", "no_target is true, and it has a segmentation")
                naming.lose(phrases, record, fault)
            else:
                naming.add_nothing(phrases, record)
            return
        is_crowd = bool(row.iscrowd) and self.crowds
        try:
            region = self.region(position, "ignore" if is_crowd else "target")
        except RecordFault as fault:
            naming.lose(phrases, record, fault)
            return
        if is_crowd:
            self.ignored += 1
            naming.ignore(phrases, region)
        else:
            naming.add(phrases, [region], self.instance(position), self.instances.category(row))

    def _phrases(self, position: int, row: AnnotationRow, image_id: str) -> list[str]:
        """The phrases as the file has them, with reject rows for those that cannot be read."""
        unsaid = self.instances.unsaid.get(position, [])
        record = self.record(position)
        for fault in unsaid:
            self.rejects.add(self.instances.name, record, fault.reason, fault.detail, expressions=1)
        given = [row.expression] if row.expression is not None else row.expressions or []
        given = given or ([row.caption] if row.caption is not None else [])
        if given or unsaid:
            return given
        image = self.instances.images.get(image_id)
        if image is not None and image.file_name in self._listed_again:
            detail = f"{image.file_name} is the picture of several images, as in files that list it once per phrase"
            self.rejects.add(self.instances.name, record, "duplicate-picture", detail, expressions=1)
            return []
        names = self.instances.category(row)
        if not names:
            self.rejects.add(
                self.instances.name, record, "no-phrase", f"category {row.category_id} has no name, or several"
            )
        return names


class _OwnRefs:
    """The dialogues of our own export that are about one picture. named: positions of the annotations that they name."""

    def __init__(self, reader: CocoPhrases, image_id: str, page: Page) -> None:
        self._reader = reader
        self._refs = page.refs
        self._here = set(page.annotations)
        self._naming = Naming(reader.instances.name, f"image {image_id}", reader.rejects)
        self._ignored: dict[str, list[int]] = {}
        for position in page.annotations:
            owner = reader.instances.annotations[position].ignored_by
            if owner is not None:
                self._ignored.setdefault(str(owner), []).append(position)
        self.named = {place for _, ref in page.refs for one in ref.ann_ids for place in self._positions(str(one))}

    def add(self, targets: list[Target], requests: list[Request]) -> None:
        """Put the dialogues' targets and requests behind those that are there."""
        places: dict[str, int] = {}
        seen: set[tuple[str, ...]] = set()
        for number, ref in self._refs:
            record, ids = f"refs[{number}]", [str(one) for one in ref.ann_ids]
            if not ids:
                name, detail = self._reader.instances.name, "it asks for no mask"
                self._reader.rejects.add(name, record, "conversation-skipped", detail, expressions=1)
                continue
            for phrase in self._naming.clean([ref.expression], record):
                if (ref.sentence, phrase, *ids) in seen:
                    continue  # drawn again in another pass
                seen.add((ref.sentence, phrase, *ids))
                try:
                    found = {one: self._target(one) for one in ids}
                except RecordFault as fault:
                    self._naming.lose([phrase], record, fault)
                    continue
                for one, target in found.items():
                    if one not in places:
                        places[one] = len(targets)
                        targets.append(target)
                asked = [places[one] for one in ids]
                requests.append(Request("-".join(ids), phrase, asked, (self._reader.instances.name, record)))

    def others(self) -> list[Target]:
        """What dialogues ask for that cannot be used."""
        return self._naming.others([])

    def _target(self, identity: str) -> Target:
        ignored = self._regions(self._ignored.get(identity, []), "ignore")
        if identity == NO_TARGET:
            return Target(NOTHING, ignored)
        positions = self._positions(identity)
        if len(positions) != 1:
            raise RecordFault("annotation-missing", f"annotation {identity} is {len(positions)} times in this picture")
        row = self._reader.instances.annotations[positions[0]]
        regions = self._regions(positions, "target")
        return Target(identity, regions + ignored, [identity], self._reader.instances.category(row))

    def _regions(self, positions: list[int], role: Role) -> list[Region]:
        regions = []
        for position in positions:
            try:
                regions.append(self._reader.region(position, role))
            except RecordFault as fault:
                raise RecordFault(fault.reason, f"{self._reader.record(position)}: {fault.detail}") from None
        return regions

    def _positions(self, identity: str) -> list[int]:
        return [place for place in self._reader.instances.positions(identity) if place in self._here]
