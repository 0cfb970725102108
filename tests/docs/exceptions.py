"""What stands in a block of commands and is not run as typed: left out, made small, or run by another test; and why."""

from __future__ import annotations

PROGRAMS = ("stamp-data", "stamp-train", "pip", "make", "python", "lmms-eval")
"""What a line of a block begins with."""

NOT_RUN = {
    "pip ": "asks a package index; what is packed, pinned and named by an extra is tests/test_packaging.py",
    "make demo": "the command itself, of minutes",
    "make test": "would run this test",
    "python bench/": "a benchmark, of minutes",
    "python -m tools.": "hours of training; tests/tools/tiny_base/test_command.py, with seconds of it",
    "synth scenes": "with the three lines below it an hour of training, as that of the first hours with more scenes",
    "--root scenes": "likewise",
    "runs/draws": "likewise",
    "data.root=shards --processes 8": "eight GPUs; two processes are tests/stamp_train/train/test_engines.py",
    "--web": "serves until Ctrl-C; tests/stamp_train/predict/test_chat_web.py",
    "stamp-data annotate photos": "serves until Ctrl-C; tests/stamp_data/annotate, and what it leaves is made by `prepare`",
    "--executor ray": "takes Ray, which `make setup` leaves out; tests/stamp_data/executors/test_ray.py, where it is",
    "--executor slurm": "takes Slurm; tests/stamp_data/executors/test_slurm.py, with a stand-in",
    "engine=deepspeed": "takes DeepSpeed, likewise; tests/stamp_train/train/test_engines.py, where it is",
    "--launcher torchrun": "waits for three other nodes; tests/stamp_train/launch/test_torchrun.py",
    "s3://": "asks a store; tests/stamp_data/test_far_sets.py, against one that is made for it",
    "https://host": "asks a server; tests/stamp_data/test_far_sets.py",
    "vae_ch160v4096z32.pth": "takes the published weights of VAR; tests/stamp_train/methods/argenseg, with smaller ones",
    "stamp-data hub": "asks the hub; tests/stamp_data/hub/test_hub.py, against a server that is made for it",
    "lmms-eval": "takes lmms-eval, and downloads its tasks; tests/stamp_train/eval/test_lmms.py, where it is",
}
"""Part of a line -> why it is left out, and what runs such a thing."""

ADDED = {
    "stamp-data synth": "--images 40 --size 96x64",
    "stamp-data build": "--min-tokens 4 --max-tokens 16 --workers 1",
    "stamp-data verify": "--workers 1",
    "stamp-train run tiny": "--set stages.0.steps=1 --set batch.dialogues=6 --set evaluation.records=2",
    "stamp-train run stamp-2b": "--set model.start= --set model.preset=tiny",  # no published weights are at hand
    "stamp-train run own.yaml": "--set stages.0.epochs=0.1 --set data.min_tokens=4 --set data.max_tokens=16",
    "--launcher slurm": "--print-script",  # there is no Slurm
    "compare stamp-fine": "--dry-run",  # nine trainings
    "compare all": "--set model.start= --set model.preset=tiny",
    "stamp-train predict": "--max-new-tokens 4",
    "stamp-train chat": "--max-new-tokens 4",
    "stamp-train eval runs": "--max-new-tokens 4 --records 2 --processes 1",
    "stamp-train eval own": "--max-new-tokens 4",
    "stamp-train eval --oracle": "--records 2",
}
"""Part of a line -> options that make it small enough for a test, or possible on a machine without what it takes."""

REPLACED = {
    'device="cuda"': 'device="cpu"',
    "s3://bucket/llava/train": "shards/grefcoco-unc/train",
    "batch(1000)": "batch(0)",  # so many the test's sets do not have
}
"""Part of a block of Python -> what stands there when it is run here."""

ELSEWHERE = {
    "docs/annotate.md: The loop": "tests/stamp_train/predict/test_annotate_loop.py",
    "docs/formats.md: Out": "tests/stamp_data/export/test_docs.py",
    "docs/shard-format.md: 9. Readers": "tests/stamp_data/shards/test_snippets.py",
    "docs/reference/commands.md": "tests/docs/test_commands.py",  # examples, of which none goes on from another: options alone
    "docs/reference/python.md": "tests/docs/test_reference.py",
}
"""Page or section -> the test that runs its blocks, with files of its own."""
