"""What only the small random network of the demo needs in order to learn."""
