"""The stream: which dialogues every optimizer step sees, and their way from the shards to packed inputs.

`plan` says what a step sees, whoever runs it; `pack` says which rank gets what; `loader` reads it and hands it over.
docs/stream.md explains the order, the reading and the measurements behind both.
"""
