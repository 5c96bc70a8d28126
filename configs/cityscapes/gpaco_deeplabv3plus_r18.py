_base_ = "./gpaco_deeplabv3plus_r50.py"

model = dict(
    pretrained="open-mmlab://resnet18_v1c",
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128, c1_in_channels=64, c1_channels=12),
    auxiliary_head=dict(in_channels=256, channels=64),
    contrast=dict(loss=dict(alpha=0.01)),
)
