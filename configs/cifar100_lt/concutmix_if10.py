_base_ = "./concutmix_if100.py"

model = dict(head=dict(tau=1.0))
train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=10)))
