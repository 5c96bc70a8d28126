_base_ = "./gpaco_x50.py"

model = dict(backbone=dict(depth=101))

rand_augment = dict(_base_.rand_augment, num_policies=5)
randcls = [*_base_.randcls[:-1], rand_augment]
randclsstack = [*_base_.randclsstack[:-1], rand_augment]
views = dict(type="ContrastViews", views=[randcls, randclsstack])
train_dataloader = dict(dataset=dict(pipeline=[views]))
