_base_ = "./gpaco_deeplabv3plus_r50.py"

model = dict(
    pretrained="open-mmlab://resnet101_v1c",
    backbone=dict(depth=101),
    contrast=dict(loss=dict(alpha=0.02)),
)
