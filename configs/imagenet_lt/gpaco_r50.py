_base_ = [
    "../_base_/models/resnet50_gpaco.py",
    "../_base_/datasets/imagenet_lt.py",
    "../_base_/schedules/imagenet_400e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(loss=dict(alpha=0.045)))
optim_wrapper = dict(optimizer=dict(lr=0.04))

views = dict(type="ContrastViews", views=[_base_.randcls, _base_.randclsstack])
train_dataloader = dict(dataset=dict(pipeline=[views]))
