"""The preprocessor of views."""
