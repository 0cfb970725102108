"""What a run would cost: sizes, time, memory, and whether its paths are there."""
