_base_ = "./resnet50_paco.py"

model = dict(head=dict(projector=dict(num_layers=3, norm=False)), momentum=None)
