"""Transforms of images: one at a time, or a whole batch on the device."""
