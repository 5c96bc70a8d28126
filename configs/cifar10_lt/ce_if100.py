_base_ = "./balanced_softmax_if100.py"

model = dict(head=dict(prior=False))
