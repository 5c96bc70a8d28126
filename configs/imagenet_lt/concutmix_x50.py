_base_ = "./concutmix_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4), head=dict(rectify_after=120)
)

constant, cosine = _base_.param_scheduler
param_scheduler = [dict(constant, end=180), dict(cosine, end=180, T_max=181)]
train_cfg = dict(max_epochs=180)
