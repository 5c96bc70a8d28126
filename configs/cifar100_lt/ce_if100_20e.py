_base_ = "./balanced_softmax_if100_20e.py"

model = dict(head=dict(prior=False))
