"""The shard set on disk: tars, index, manifest; docs/shard-format.md is its specification."""
