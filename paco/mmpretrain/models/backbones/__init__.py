"""Backbones that the toolbox lacks."""
