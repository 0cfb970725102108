"""Masks as run-length text that the language model writes itself (Text4Seg, arXiv:2410.09855)."""
