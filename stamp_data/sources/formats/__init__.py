"""Formats of annotation tools and of other sets: one module each, on the core that they share (`core.py`)."""
