optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    # It changes nothing, but notes the rate to start from, which the next needs.
    dict(type="ConstantLR", factor=1.0, by_epoch=True, begin=0, end=90),
    # The published cosine counts from 1, and would reach 0 an epoch after the last.
    dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=90, T_max=91, last_step=0),
]

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
