_base_ = [
    "../_base_/models/resnet50_proco.py",
    "../_base_/datasets/imagenet_lt.py",
    "../_base_/datasets/three_views_224.py",
    "../_base_/schedules/imagenet_90e.py",
    "../_base_/default_runtime.py",
]

contrast = _base_.jittered_224
views = dict(type="ContrastViews", views=[contrast, contrast], classification=_base_.randcls)
train_dataloader = dict(dataset=dict(pipeline=[views]))  # 32 images on each of 8 processes
custom_hooks = [*_base_.custom_hooks, dict(type="ProCoEpochHook")]
