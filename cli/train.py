"""`stamp-train`: shard sets to models, models to masks."""

from __future__ import annotations

from stamp_cli.console import new_app, run

app = new_app("Train, evaluate and use STAMP models on shard sets.")


def main() -> None:
    run(app)
