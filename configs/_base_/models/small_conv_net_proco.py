model = dict(
    type="PaCoClassifier",
    backbone=dict(type="SmallConvNet", in_channels=1),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="ProCoHead",
        num_classes=10,
        in_channels=128,
        feat_channels=32,
        projector=dict(type="Projector", num_layers=2, norm=True),
        contrast_loss=dict(type="ProCoLoss", temperature=0.1),
    ),
    momentum=None,
)
