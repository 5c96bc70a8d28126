# The published recipe within 20 epochs.
_base_ = "./gpaco_if100.py"

param_scheduler = [
    # Half an epoch of CIFAR-100-LT with imbalance factor 100.
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=42),
    dict(type="MultiStepLR", by_epoch=True, milestones=[16, 18], gamma=0.1),
]

train_cfg = dict(max_epochs=20, val_interval=1)
