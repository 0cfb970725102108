"""One embedding for a mask: the state around `<|seg|>` is compared with pixels, or prompts SAM (LISA, arXiv:2308.00692)."""
