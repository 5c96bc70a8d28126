_base_ = [
    "../_base_/models/small_conv_net_proco.py",
    "../_base_/datasets/digits_lt_contrast_views.py",
    "../_base_/schedules/digits.py",
    "../_base_/default_runtime.py",
]

views = dict(type="ContrastViews", views=[_base_.view, _base_.view], classification=_base_.view)
train_dataloader = dict(dataset=dict(pipeline=[views]))
custom_hooks = [*_base_.custom_hooks, dict(type="ProCoEpochHook")]
