"""Decoding over one cache: answers token by token, masks at once."""
