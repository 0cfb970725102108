"""Ways to get masks out of a language model, a folder each."""
