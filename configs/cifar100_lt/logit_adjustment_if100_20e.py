# Logit adjustment of a normalised linear layer: 30 cos + tau log prior. With linear centers and
# tau = 1 it is balanced softmax.
_base_ = "./balanced_softmax_if100_20e.py"

model = dict(head=dict(scale=30.0, tau=1.0))
