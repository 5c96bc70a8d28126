_base_ = "./paco_if100.py"

model = dict(head=dict(projector=dict(num_layers=3, norm=False)), momentum=None)

key_view = [*_base_.key_view[:-1], dict(_base_.key_view[-1], prob=0.2)]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="MultiView", num_views=[1, 1], transforms=[_base_.anchor_view, key_view]),
            dict(type="PackInputs"),
        ]
    )
)
