_base_ = "./paco_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4),
    head=dict(loss=dict(temperature=0.07)),
)

views = dict(type="ContrastViews", views=[_base_.randclsstack, _base_.sim])
train_dataloader = dict(dataset=dict(pipeline=[views]))
