_base_ = [
    "../_base_/models/resnet50_gpaco.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_400e.py",
    "../_base_/default_runtime.py",
]

# The classes are balanced.
model = dict(head=dict(prior=False, loss=dict(label_smoothing=0.1)))
optim_wrapper = dict(optimizer=dict(lr=0.08, weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=512)

views = dict(type="ContrastViews", views=[_base_.randcls, _base_.randclsstack])
train_dataloader = dict(dataset=dict(pipeline=[views]))
