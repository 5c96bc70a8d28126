"""The projection to the contrastive space."""
