_base_ = "./concutmix_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4), head=dict(rectify_after=120)
)

param_scheduler = [dict(_base_.param_scheduler[0], end=180)]
train_cfg = dict(max_epochs=180)
