model = dict(
    type="PaCoClassifier",
    backbone=dict(type="SmallImageResNet", depth=32),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="PaCoHead",
        num_classes=100,
        in_channels=64,
        feat_channels=32,
        queue_size=1024,
        projector=dict(
            type="Projector",
            num_layers=2,
            norm=True,
            kaiming_last=True,
        ),
        loss=dict(type="PaCoLoss", alpha=0.01, temperature=0.05),
    ),
    momentum=0.999,
)
