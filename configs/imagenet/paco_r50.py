_base_ = [
    "../_base_/models/resnet50_paco.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_400e.py",
    "../_base_/default_runtime.py",
]

# The classes are balanced.
model = dict(head=dict(prior=False))
optim_wrapper = dict(optimizer=dict(lr=0.04, weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=256)
