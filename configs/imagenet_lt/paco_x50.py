_base_ = "./paco_r50.py"

model = dict(
    backbone=dict(type="ResNeXt", groups=32, width_per_group=4),
    head=dict(loss=dict(temperature=0.07)),
)

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(
                type="MultiView",
                num_views=[1, 1],
                transforms=[_base_.randclsstack, _base_.sim],
            ),
            dict(type="PackInputs"),
        ]
    )
)
