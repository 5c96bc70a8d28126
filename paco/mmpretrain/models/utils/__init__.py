"""The preprocessor of two views."""
