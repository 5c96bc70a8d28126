optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=10),
    # The published warm-up goes on for an epoch more, the eleventh, at 1.1 times the rate.
    dict(type="MultiStepLR", by_epoch=True, milestones=[10], gamma=1.1),
    dict(type="MultiStepLR", by_epoch=True, milestones=[11], gamma=1 / 1.1),
    dict(type="MultiStepLR", by_epoch=True, milestones=[321, 361], gamma=0.1),
]

train_cfg = dict(by_epoch=True, max_epochs=400, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
