"""Networks, heads and losses, in the toolbox's own rooms."""
