"""The run itself: the loop, one optimizer step, the engine, checkpoints and what a run tells of itself."""
