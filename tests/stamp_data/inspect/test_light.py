"""The command's help must not pay for what only an inspection needs."""

from __future__ import annotations

import subprocess
import sys


def test_package_flags_and_language_import_nothing_heavy() -> None:
    code = (
        "import sys, stamp_data.inspect, stamp_data.inspect.flags, stamp_data.draw, stamp_data.inspect.filters\n"
        "heavy = {'numpy', 'pyarrow', 'PIL', 'pycocotools', 'shapely', 'rich', 'starlette', 'uvicorn'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
