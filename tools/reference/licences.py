"""Under which licence the data of each source is, as a manifest carries it."""

from __future__ import annotations

from stamp_data.sources import SOURCES
from tools.reference.markdown import code, table


def page() -> str:
    rows = [(code(name), kind.licence, kind.homepage) for name, kind in SOURCES.items()]
    return "\n\n".join(
        [
            "# Licences of the data",
            "This project is Apache-2.0 and holds no data set. What it builds stays under the licences of what it was "
            "built from; the manifest of each set carries them (`licence`, `homepage`), `export` and `hub push` name "
            "them. They are repeated here as the sources' pages state them, without any warranty: look there before "
            "you publish pictures, masks or a model that has learned from them.",
            table(("`stamp-data build`", "licence", "home"), rows),
            "Pictures of COCO are Flickr's, each under a licence of its own, which `licenses` of COCO's files name. Synthetic "
            "scenes (`stamp-data synth`, `tiny-base`) are made by this project, and are under its licence. A checkpoint that "
            "begins with someone's weights is under their licence as well: `stamp-train export` writes the name of the base "
            "into the model card.",
        ]
    )
