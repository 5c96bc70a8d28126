optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4))
# The published cosine begins an epoch earlier, before the first.
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=90)]

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
