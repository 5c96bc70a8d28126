_base_ = "./balanced_softmax.py"

model = dict(head=dict(prior=False))
