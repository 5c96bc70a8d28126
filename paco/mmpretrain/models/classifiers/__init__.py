"""Whole classifiers: one that trains, one that only predicts."""
