_base_ = [
    "../_base_/models/deeplabv3plus_r50_gpaco.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/segmentation_80k.py",
    "../_base_/segmentation_runtime.py",
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    contrast=dict(loss=dict(alpha=0.03)),
)
