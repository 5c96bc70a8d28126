optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=5),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=5, end=200),
]

train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=50)
val_cfg = dict()
test_cfg = dict()
