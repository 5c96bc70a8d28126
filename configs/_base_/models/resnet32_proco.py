model = dict(
    type="PaCoClassifier",
    backbone=dict(type="SmallImageResNet", depth=32),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="ProCoHead",
        num_classes=100,
        in_channels=64,
        feat_channels=128,
        projector=dict(type="Projector", num_layers=2, norm=True, hidden_channels=512),
        contrast_loss=dict(type="ProCoLoss", temperature=0.1),
    ),
    momentum=None,
)
