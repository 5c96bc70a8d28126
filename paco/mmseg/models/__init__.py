"""Segmentors and what they are made of, in the toolbox's own rooms."""
