"""The flags that `inspect` raises."""

from __future__ import annotations

from stamp_data.inspect.flags import FLAGS


def page() -> str:
    parts = [
        "# Flags",
        "What `stamp-data inspect` finds in records, by stable codes. `stamp-data explain CODE` says the same; "
        "`--fail-on error,STP-W003` makes it an exit code, `--where` and `--select` choose records by it.",
    ]
    for flag in FLAGS.values():
        remarks = [
            "A heuristic: it can be wrong." if flag.heuristic else "",
            "Raised by `stamp-data build` in rejects.jsonl, never by `inspect`." if flag.at_build else "",
        ]
        parts += [
            f"## {flag.code}",
            f"{flag.severity.capitalize()}: {flag.title}.",
            " ".join([flag.why, *filter(None, remarks)]),
            f"*What to do*: {flag.fix}",
        ]
    return "\n\n".join(parts)
