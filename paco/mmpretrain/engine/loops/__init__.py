"""Loops of the toolbox's runner."""
