"""Pictures of one's own: things that are called the same are asked for together, since the words name them all.

Phrases are cleaned before they are compared, and compared as they look. A phrase of which any region cannot be used is lost as
a whole: the mask would lack what the words name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.refer import NOTHING, make_unique
from stamp_data.text import EXPRESSION_LIMIT, TextFault, clean, look
from stamp_schemas import Region, Request, Target
from stamp_schemas.annotation import Where

IGNORE = "__ignore__"
"""What is called so counts neither for nor against anything in its picture: labelme's own word, read in every format."""
NO_TARGET = "no_target"
"""By this name, tools that let people name their own fields say that words mean nothing in the picture."""
QUOTED = 80  # characters of a phrase in a reject row


@dataclass
class Named:
    """What one phrase names in one picture. instances: ids that are unique in the picture."""

    phrase: str
    regions: list[Region] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    ignored: list[Region] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)


class Naming:
    """The phrases of one picture. file, record: of the picture, for rejects. Every `record` is the place in the file."""

    def __init__(self, file: str, record: str, rejects: RejectLog) -> None:
        self.file = file
        self.record = record
        self.rejects = rejects
        self._named: dict[str, Named] = {}  # by the look of the phrase, as _lost
        self._lost: set[str] = set()
        self._everywhere: list[Region] = []
        self._told: dict[str, Target] = {}  # what the file tells of, by instance or record

    def clean(self, texts: list[str], record: str) -> list[str]:
        """The distinct usable phrases among `texts` as they will be said, with reject rows for what is taken out."""
        return list(dict.fromkeys(phrase for text in texts if (phrase := self._clean(text, record))))

    def add(self, phrases: list[str], regions: list[Region], instance: str, categories: list[str]) -> None:
        """Phrases, cleaned, that name an instance with these regions; none if it has no usable one."""
        self._told.setdefault(instance, Target(instance, regions, [instance], categories))
        for phrase in phrases:
            named = self._of(phrase)
            if instance in named.instances:  # the same thing was called so before
                continue
            named.regions.extend(regions)
            named.instances.append(instance)
            named.categories.extend(categories)

    def ignore(self, phrases: list[str], region: Region) -> None:
        """A region that counts neither for nor against what the phrases name."""
        self.pass_over(region.where[1])
        for phrase in phrases:
            self._of(phrase).ignored.append(region)

    def ignore_everywhere(self, region: Region) -> None:
        """A region that counts neither for nor against anything in the picture."""
        self._everywhere.append(region)

    def add_nothing(self, phrases: list[str], record: str) -> None:
        """Phrases of which a record says that they name nothing in this picture."""
        for phrase in phrases:
            self._of(phrase).nothing.append(record)

    def lose(self, phrases: list[str], record: str, fault: RecordFault) -> None:
        """A record cannot be used, and the phrases that it bears are lost with it; one row names both."""
        quoted = ", ".join(repr(phrase[:QUOTED]) for phrase in phrases)
        detail = f"{fault.detail}; lost with it: {quoted}" if phrases else fault.detail
        lost = set(map(look, phrases)) - self._lost
        self._lost |= lost
        self.rejects.add(self.file, record, fault.reason, detail, expressions=len(lost))
        self.pass_over(record)

    def pass_over(self, record: str) -> None:
        """Nobody knows what a record shows, or where: there may be anything anywhere (see `others`)."""
        self._told[f"unclear {record}"] = Target(record, [], [f"unclear {record}"])

    def others(self, targets: list[Target]) -> list[Target]:
        """What the file tells of besides the instances of `targets`, as `Annotation.others` has it."""
        named = {name for target in targets for name in target.instances}
        return [other for name, other in self._told.items() if name not in named]

    def ask(self) -> tuple[list[Target], list[Request]]:
        """One request per phrase; phrases that name the same instances share a target, called by the instances' ids.

        Phrases that cannot be used are reject rows.
        """
        places: dict[tuple[str, ...], int] = {}
        targets: list[Target] = []
        requests: list[Request] = []
        for looks, named in self._named.items():
            if looks in self._lost or not self._is_usable(named):
                continue
            regions = named.regions + named.ignored + self._everywhere
            key = (*named.instances, *(f"not {region.where[1]}" for region in named.ignored))
            identity = "-".join(named.instances) or NOTHING
            if key not in places:
                places[key] = len(targets)
                targets.append(Target(identity, regions, named.instances, named.categories))
            requests.append(Request(identity, named.phrase, [places[key]], self._place(named)))
        make_unique(requests)
        make_unique(targets)
        return targets, requests

    def _of(self, phrase: str) -> Named:
        return self._named.setdefault(look(phrase), Named(phrase))

    def _place(self, named: Named) -> Where:
        """The one record that bears the phrase, else the picture's."""
        records = {region.where for region in named.regions} | {(self.file, record) for record in named.nothing}
        return records.pop() if len(records) == 1 else (self.file, self.record)

    def _clean(self, text: str, record: str) -> str:
        try:
            phrase, removed = clean(text, EXPRESSION_LIMIT, one_line=True)
        except TextFault as fault:
            self.rejects.add(self.file, record, fault.reason, str(fault), expressions=1)
            return ""
        if removed:
            detail = f"taken out: {', '.join(removed)}"
            self.rejects.add(self.file, record, "control-token", detail, action="cleaned")
        return phrase

    def _is_usable(self, named: Named) -> bool:
        quoted = repr(named.phrase[:QUOTED])
        if named.nothing and named.instances:
            fault = RecordFault(
                "contradictory-phrase", f"{quoted} names nothing by {named.nothing[0]}, and something by others"
            )
        elif not named.nothing and not named.instances:
            fault = RecordFault(
                "crowd-only", f"{quoted} names only crowds (iscrowd 1); --crowd instance takes them for ordinary ones"
            )
        else:
            return True
        self.rejects.add(self.file, self.record, fault.reason, fault.detail, expressions=1)
        return False
