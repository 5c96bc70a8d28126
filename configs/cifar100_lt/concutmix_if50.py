_base_ = "./concutmix_if100.py"

model = dict(head=dict(tau=0.75))
train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=50)))
