_base_ = "./bcl_r50.py"

model = dict(backbone=dict(type="ResNeXt", groups=32, width_per_group=4))

contrast = [*_base_.jittered_224, _base_.rand_augment]
views = dict(type="ContrastViews", views=[contrast, contrast], classification=_base_.randcls)
train_dataloader = dict(dataset=dict(pipeline=[views]))
