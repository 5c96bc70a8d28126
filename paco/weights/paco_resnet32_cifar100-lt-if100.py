"""The classifier of configs/cifar100_lt/paco_if100.py alone, for image files of any size."""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="SmallImageResNet", depth=32),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="ClassCentersHead", num_classes=100, in_channels=64),
)
data_preprocessor = dict(
    mean=[125.307, 122.961, 113.8575],  # (.4914, .4822, .4465) of 255
    std=[51.5865, 50.847, 51.255],  # (.2023, .1994, .2010) of 255
    to_rgb=True,
)
test_dataloader = dict(
    batch_size=256,
    num_workers=2,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CustomDataset",
        data_root="data/cifar100/test",  # <class>/*.png
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(
                type="ResizeEdge", scale=32, backend="pillow"
            ),  # leaves 32 x 32 pixels as they are
            dict(type="CenterCrop", crop_size=32),
            dict(type="PackInputs"),
        ],
    ),
)
test_evaluator = [dict(type="Accuracy", topk=(1, 5))]
test_cfg = dict()
custom_imports = dict(imports=["paco.mmpretrain"])
default_scope = "mmpretrain"
