_base_ = "./digits_lt.py"

views = dict(type="ContrastViews", views=[_base_.view, _base_.view])
train_dataloader = dict(dataset=dict(pipeline=[views]))
