_base_ = "./digits_lt.py"

views = dict(type="TwoViews", anchor=_base_.view, key=_base_.view)
train_dataloader = dict(dataset=dict(pipeline=[views]))
