"""The preprocessor of views, and BatchNorm over groups."""
