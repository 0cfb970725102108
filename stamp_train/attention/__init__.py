"""Attention over a packed sequence: one plan per forward pass, four ways to compute it.

A plan is built once from the structure and used by every layer. It reaches the layers through transformers'
`AttentionInterface` under the name `stamp`; without a plan (generation through transformers) that name is plain SDPA.
"""

from stamp_train.attention.interface import ATTENTION_NAME, AttentionPlan, register
from stamp_train.attention.select import BACKENDS, make_plan

__all__ = ["ATTENTION_NAME", "BACKENDS", "AttentionPlan", "make_plan", "register"]
