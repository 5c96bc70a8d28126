_base_ = [
    "../_base_/models/resnet50_bcl.py",
    "../_base_/datasets/inat2018.py",
    "../_base_/datasets/three_views_224.py",
    "../_base_/schedules/imagenet_90e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=8142))
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1e-4))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=100)]
train_cfg = dict(max_epochs=100)

contrast = _base_.jittered_224
views = dict(type="ContrastViews", views=[contrast, contrast], classification=_base_.randcls)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[views]))
