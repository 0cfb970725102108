"""HTML of pages: the shell around all of them, and those that are one file, which load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources

NOTHING = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
BRAND = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="2" y="2" width="9" height="9" rx="2.4"/>'
    '<rect x="13" y="2" width="9" height="9" rx="2.4" class="soft"/><rect x="2" y="13" width="9" height="9" rx="2.4" '
    'class="soft"/><rect x="13" y="13" width="9" height="9" rx="2.4"/></svg>'
)
BUTTONS = (
    '<button id="theme" class="action" title="Dark or light (t)" aria-label="Switch between dark and light">'
    '<svg viewBox="0 0 20 20" aria-hidden="true"><path class="filled" d="M16.5 12.4A7 7 0 0 1 7.6 3.5a7 7 0 1 0 8.9 8.9z"/>'
    '</svg></button><button id="help" class="action" title="Keys (?)" aria-label="Show the keys">?</button>'
)
_MODULE = re.compile(r"^(import .*;\n|export (?=\w)|export \{.*\};?\n)", re.MULTILINE)


@cache
def text_of(package: str, name: str) -> str:
    """A text that lies in a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def shared(name: str) -> str:
    """A style or script that all pages share."""
    return text_of("stamp_data.web", name)


def filled(template: str, **parts: str) -> str:
    """A template with each `{{name}}` replaced, `brand` and `buttons` too; what a part holds is no template."""
    parts = {"brand": BRAND, "buttons": BUTTONS, **parts}
    head, *rest = template.split("{{")
    pieces = [head]
    for part in rest:
        name, _, tail = part.partition("}}")
        pieces += [parts[name], tail]
    return "".join(pieces)


def shell(title: str, head: str, body: str, tail: str = "", policy: str = "") -> str:
    """A whole page. head, body, tail (the end of the body): HTML; policy: for pages that no server sends with theirs."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n' if policy else ""
    return filled(shared("shell.html"), title=escape(title), head=head, body=body, tail=tail, policy=meta)


def source_hash(text: str) -> str:
    """What a Content-Security-Policy calls a script or a style that stands within a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def rules(policy: dict[str, str]) -> str:
    """A Content-Security-Policy in its own notation."""
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def inline_policy(style: str, script: str = "") -> str:
    """Of a page in one file: its own style and script by hash, and pictures that stand within it."""
    scripts = {"script-src": source_hash(script)} if script else {}
    return rules({**NOTHING, "img-src": "data:", "style-src": source_hash(style), **scripts})


def one_file(title: str, body: str, style: str, script: str = "", data: str = "", policy: str = "") -> str:
    """A page in one file. data: JSON, made `script_safe`. policy: `inline_policy` if not given."""
    tail = f'<script type="application/json" id="data">{data}</script>\n' if data else ""
    tail += f"<script>{script}</script>" if script else ""
    return shell(title, f"<style>{style}</style>", body, tail, policy or inline_policy(style, script))


def joined(modules: Sequence[str]) -> str:
    """Modules as one script, for pages in one file: in their order, and without the lines that import and export."""
    return '(() => {\n"use strict";\n' + "\n".join(_MODULE.sub("", module) for module in modules) + "\n})();"


def script_safe(data: bytes) -> str:
    """JSON in which no character can end a script block or begin a comment; it parses to the same value."""
    return data.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026").decode()
