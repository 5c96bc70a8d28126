"""Hooks and loops of the toolbox's runner."""
