"""Annotating pictures: phrases and the masks that they name, kept as files that a build reads (docs/annotate.md)."""
