_base_ = [
    "../_base_/models/resnet50_bcl.py",
    "../_base_/datasets/imagenet_lt.py",
    "../_base_/datasets/three_views_224.py",
    "../_base_/schedules/imagenet_90e.py",
    "../_base_/default_runtime.py",
]

contrast = _base_.jittered_224
views = dict(type="ContrastViews", views=[contrast, contrast], classification=_base_.randcls)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[views]))
