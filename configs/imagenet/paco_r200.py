_base_ = "./paco_r50.py"

model = dict(backbone=dict(_delete_=True, type="ResNet200", zero_init_residual=False))
optim_wrapper = dict(type="AmpOptimWrapper")

rand_augment = dict(_base_.rand_augment, num_policies=3, magnitude_level=12)
randclsstack = [*_base_.randclsstack[:-1], rand_augment]
views = dict(type="ContrastViews", views=[randclsstack, _base_.sim])
train_dataloader = dict(dataset=dict(pipeline=[views]))
