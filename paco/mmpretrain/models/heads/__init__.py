"""Heads over class centers."""
