# Cross entropy on images that are drawn class by class.
_base_ = "./ce_if100_20e.py"

train_dataloader = dict(sampler=dict(_delete_=True, type="ClassBalancedSampler"))
