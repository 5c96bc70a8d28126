_base_ = "./concutmix_if100.py"

model = dict(head=dict(tau=0.79, rectify_after=160))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=10),
    dict(type="MultiStepLR", by_epoch=True, milestones=[360, 380], gamma=0.1),
]
train_cfg = dict(max_epochs=400)
