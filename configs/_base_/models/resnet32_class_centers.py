model = dict(
    type="ImageClassifier",
    backbone=dict(type="SmallImageResNet", depth=32),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="ClassCentersHead", num_classes=100, in_channels=64),
)
