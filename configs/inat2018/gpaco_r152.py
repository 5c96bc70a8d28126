_base_ = "./gpaco_r50.py"

model = dict(backbone=dict(depth=152))
