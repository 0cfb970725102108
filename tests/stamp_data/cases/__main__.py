"""Every case of raw data, and whether it ends as it should: a table for the terminal or a page.

python -m tests.stamp_data.cases    STAMP_CASES names the folder of the cases. Exit code 1 if any ends otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

import pytest

from .conftest import CASES

HERE = Path(__file__).parent


class Ends:
    """Outcomes of the tests of each case, by its name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[tuple[str, str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        case = dict(report.user_properties).get("case")
        if case and report.when == "call":
            self.outcomes.setdefault(str(case), []).append((report.outcome, report.nodeid.rpartition("::")[2]))


def main() -> int:
    ends = Ends()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main([str(HERE), "-p", "no:cacheprovider"], plugins=[ends])
    cases = sorted({path.parent.name for path in CASES.glob("*/make.py")} | ends.outcomes.keys())
    right = 0
    print(f"{'case':26}{'it was':14}{'it is':9}by the test")
    for case in cases:
        outcomes = ends.outcomes.get(case, [("no test", "")])
        state = next((outcome for outcome, _ in outcomes if outcome != "passed"), "right")
        right += state == "right"
        for number, (_, test) in enumerate(outcomes):
            told = (case, _verdict(case), state) if number == 0 else ("", "", "")
            name = re.sub(r"\[.*", "", test).removeprefix("test_").replace("_", " ")
            print(f"{told[0]:26}{told[1]:14}{told[2]:9}{name}")
    print(f"{right} of {len(cases)} cases end as they should")
    return int(right < len(cases))


def _verdict(case: str) -> str:
    """What was found when the case was filed, as its `case.md` says."""
    path = CASES / case / "case.md"
    match = re.search(r"Verdict: \*\*([A-Z]+)", path.read_text(encoding="utf-8")) if path.is_file() else None
    return match[1].lower() if match else ""


if __name__ == "__main__":
    sys.exit(main())
