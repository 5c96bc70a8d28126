"""Checkpoints: strict loading, and conversion from the papers' code."""
