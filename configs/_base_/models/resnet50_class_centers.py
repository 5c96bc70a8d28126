model = dict(
    type="ImageClassifier",
    # torchvision's initialisation, as in the recipes with a contrast, not the toolbox's.
    backbone=dict(type="ResNet", depth=50, zero_init_residual=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="ClassCentersHead", num_classes=1000, in_channels=2048),
)
