"""Shard sets in, checkpoints, text and masks out. A folder answers one question; docs/architecture.md has the map.

Importing this package loads nothing heavy; each module imports what it needs.
"""
