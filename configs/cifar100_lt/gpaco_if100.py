_base_ = "./paco_if100.py"

model = dict(head=dict(projector=dict(num_layers=3, norm=False)), momentum=None)

sim32 = [*_base_.sim32[:-1], dict(_base_.sim32[-1], prob=0.2)]
views = dict(type="ContrastViews", views=[_base_.autoaug_cutout, sim32])
train_dataloader = dict(dataset=dict(pipeline=[views]))
