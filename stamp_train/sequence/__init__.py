"""From dialogues to tokens: the one place that knows the sequence."""
