"""Figures and comparisons of trained runs."""
