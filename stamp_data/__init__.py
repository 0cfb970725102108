"""Raw referring-segmentation datasets in, shard sets out; look at them, check them, take them elsewhere."""
