"""The pages of docs/reference/, made from the code: `make reference` writes them, and a test says when they are stale."""
