_base_ = [
    "../_base_/models/deeplabv3plus_r50_gpaco.py",
    "../_base_/datasets/coco_stuff10k.py",
    "../_base_/schedules/segmentation_40k.py",
    "../_base_/segmentation_runtime.py",
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=171),
    auxiliary_head=dict(num_classes=171),
)
