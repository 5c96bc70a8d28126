# Cross entropy weighted by the classes' effective numbers of samples.
_base_ = "./ce_if100_20e.py"

model = dict(head=dict(loss=dict(type="ClassBalancedLoss", beta=0.9999)))
