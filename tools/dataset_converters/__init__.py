"""Lists of images for training."""
