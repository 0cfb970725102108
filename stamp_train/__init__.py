"""Training, evaluation and use of STAMP: packed batches in, checkpoints, text and masks out.

`stamp_train.layout` turns dialogues into one packed sequence, `stamp_train.model` is the network, `stamp_train.losses`
the objective. Importing this package loads nothing heavy; each module imports what it needs.
"""
