"""Scores of masks, as this project and as the published evaluators compute them. Importing this package loads nothing."""
