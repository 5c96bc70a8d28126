model = dict(
    type="ImageClassifier",
    backbone=dict(type="SmallConvNet", in_channels=1),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="ClassCentersHead", num_classes=10, in_channels=128),
)
