_base_ = "./bcl_if100.py"

train_dataloader = dict(dataset=dict(imbalance_factor=50))
