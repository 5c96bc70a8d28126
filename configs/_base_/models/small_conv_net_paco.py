model = dict(
    type="PaCoClassifier",
    backbone=dict(type="SmallConvNet", in_channels=1),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="PaCoHead",
        num_classes=10,
        in_channels=128,
        feat_channels=32,
        queue_size=256,
        projector=dict(type="Projector", num_layers=2, norm=True),
        loss=dict(type="PaCoLoss", alpha=0.05, temperature=0.1),
    ),
    # A run has a thousand steps; 0.999 would average over all of them.
    momentum=0.99,
)
