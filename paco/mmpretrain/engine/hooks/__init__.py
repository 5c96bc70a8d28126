"""Hooks of the toolbox's runner."""
