"""A finished model as a folder for others, with its card."""
