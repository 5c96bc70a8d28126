"""Long-tailed data sets and the counting of their classes."""
