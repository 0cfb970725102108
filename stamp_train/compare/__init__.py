"""Methods side by side: the same base, sets, batches and evaluator, and one table of what came of it."""
