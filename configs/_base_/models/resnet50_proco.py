model = dict(
    type="PaCoClassifier",
    # Published code starts from torchvision's initialisation, not the toolbox's.
    backbone=dict(type="ResNet", depth=50, zero_init_residual=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="ProCoHead",
        num_classes=1000,
        in_channels=2048,
        feat_channels=1024,
        projector=dict(type="Projector", num_layers=2, norm=True),
        contrast_loss=dict(type="ProCoLoss", temperature=0.07),
        scale=30.0,
    ),
    momentum=None,
)
