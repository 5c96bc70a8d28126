"""Losses for a PaCoHead beside paco.nn.PaCoLoss."""
