_base_ = [
    "../_base_/models/vit_b_gpaco.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_vit_100e.py",
    "../_base_/default_runtime.py",
]

# The classes are balanced.
model = dict(head=dict(prior=False))

rand_augment = dict(_base_.rand_augment, num_policies=12)
randclsstack = [*_base_.randclsstack[:-1], rand_augment]
views = dict(type="ContrastViews", views=[randclsstack, _base_.sim])
train_dataloader = dict(dataset=dict(pipeline=[views]))
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="ResizeEdge", scale=256, backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ]
    )
)
test_dataloader = val_dataloader
