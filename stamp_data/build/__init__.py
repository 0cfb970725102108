"""Raw data to a set: a plan, a task per shard, a receipt per task, and the set sealed once all are there."""
