_base_ = "./gpaco_x50.py"

model = dict(backbone=dict(depth=101))

rand_augment = dict(_base_.rand_augment, num_policies=5)
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
