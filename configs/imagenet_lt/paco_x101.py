_base_ = "./paco_x50.py"

model = dict(backbone=dict(depth=101), head=dict(loss=dict(temperature=0.2)))
optim_wrapper = dict(optimizer=dict(lr=0.03))

rand_augment = dict(_base_.rand_augment, num_policies=3)
randclsstack = [*_base_.randclsstack[:-1], rand_augment]
views = dict(type="ContrastViews", views=[randclsstack, _base_.sim])
train_dataloader = dict(dataset=dict(pipeline=[views]))
