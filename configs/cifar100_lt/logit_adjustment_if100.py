# The published settings of logit adjustment, but for the network, which has bottlenecks there.
_base_ = [
    "../_base_/models/resnet32_class_centers.py",
    "../_base_/datasets/cifar100_lt.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(tau=1.0))

crop_flip = [
    dict(type="NumpyToPIL"),
    dict(type="torchvision/RandomCrop", size=32, padding=2),
    dict(type="torchvision/RandomHorizontalFlip"),
    dict(type="PILToNumpy"),
]
train_dataloader = dict(dataset=dict(pipeline=[*crop_flip, dict(type="PackInputs")]))

optim_wrapper = dict(
    # The published weight decay, 1e-4, is of the squares, and leaves BatchNorm out.
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=2e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    # Published code rises step by step.
    dict(type="LinearLR", start_factor=1 / 22, by_epoch=True, begin=0, end=22),
    dict(type="MultiStepLR", by_epoch=True, milestones=[691, 1059, 1290], gamma=0.1),
]

train_cfg = dict(by_epoch=True, max_epochs=1419, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
