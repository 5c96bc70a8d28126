# Cross entropy + alpha x SupCon, with GPaCo's encoder and queue.
_base_ = "./gpaco_r50.py"

model = dict(
    head=dict(
        prior=False,
        loss=dict(_delete_=True, type="MultiTaskLoss", alpha=0.5, temperature=0.07),
    )
)

views = dict(type="ContrastViews", views=[_base_.autoaug_cutout, _base_.autoaug_cutout])
train_dataloader = dict(dataset=dict(pipeline=[views]))
