# One view of an image: its positives are the other images of its class, in batch and queue.
_base_ = "./gpaco_vit_b.py"

views = dict(type="ContrastViews", views=[_base_.randclsstack])
train_dataloader = dict(dataset=dict(pipeline=[views]))
