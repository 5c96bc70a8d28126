_base_ = "./digits_lt.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="MultiView", num_views=[2], transforms=[_base_.view]),
            dict(type="PackInputs"),
        ]
    )
)
