_base_ = "./paco_if100.py"

model = dict(head=dict(projector=dict(num_layers=3, norm=False)), momentum=None)

sim32 = [*_base_.sim32[:-1], dict(_base_.sim32[-1], prob=0.2)]
views = dict(type="TwoViews", anchor=_base_.autoaug_cutout, key=sim32)
train_dataloader = dict(dataset=dict(pipeline=[views]))
