"""The two commands: they parse, call and print. Whatever is worth testing without a terminal lives elsewhere."""
