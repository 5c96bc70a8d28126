_base_ = [
    "../_base_/models/resnet50_gpaco.py",
    "../_base_/datasets/inat2018.py",
    "../_base_/schedules/imagenet_400e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=8142))
optim_wrapper = dict(optimizer=dict(lr=0.04, weight_decay=1e-4))
