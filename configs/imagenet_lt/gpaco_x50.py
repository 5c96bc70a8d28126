_base_ = "./gpaco_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4),
    head=dict(loss=dict(alpha=0.05)),
)
optim_wrapper = dict(optimizer=dict(lr=0.06))

rand_augment = dict(_base_.rand_augment, num_policies=3)
randcls = [*_base_.randcls[:-1], rand_augment]
randclsstack = [*_base_.randclsstack[:-1], rand_augment]
views = dict(type="ContrastViews", views=[randcls, randclsstack])
train_dataloader = dict(dataset=dict(pipeline=[views]))
