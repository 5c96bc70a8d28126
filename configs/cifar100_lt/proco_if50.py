_base_ = "./proco_if100.py"

train_dataloader = dict(dataset=dict(imbalance_factor=50))
