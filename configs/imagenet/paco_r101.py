_base_ = "./paco_r50.py"

model = dict(backbone=dict(depth=101))
