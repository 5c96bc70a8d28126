_base_ = [
    "../_base_/models/upernet_swin_t_gpaco.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmentation_swin_160k.py",
    "../_base_/segmentation_runtime.py",
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
