"""Masks as pictures that the language model writes in codes, scale by scale, as in ARGenSeg (arXiv:2510.20803)."""
