_base_ = "./paco_r50.py"

model = dict(backbone=dict(type="DeepResNet", depth=200))
optim_wrapper = dict(type="AmpOptimWrapper")

rand_augment = dict(_base_.rand_augment, num_policies=3, magnitude_level=12)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(
                type="MultiView",
                num_views=[1, 1],
                transforms=[[*_base_.randclsstack[:-1], rand_augment], _base_.sim],
            ),
            dict(type="PackInputs"),
        ]
    )
)
