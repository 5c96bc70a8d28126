_base_ = "./gpaco_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4),
    head=dict(loss=dict(alpha=0.05)),
)
optim_wrapper = dict(optimizer=dict(lr=0.06))

rand_augment = dict(_base_.rand_augment, num_policies=3)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(
                type="MultiView",
                num_views=[1, 1],
                transforms=[
                    [*_base_.randcls[:-1], rand_augment],
                    [*_base_.randclsstack[:-1], rand_augment],
                ],
            ),
            dict(type="PackInputs"),
        ]
    )
)
