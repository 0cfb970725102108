"""Pixels in the language model's own space, compared with what predicts `<|seg|>` (SELF1E, arXiv:2603.19026)."""
