"""STAMP: one mask token per image patch, all read in one pass."""
