model = dict(
    type="PaCoClassifier",
    # The papers' code starts from torchvision's initialisation, not the toolbox's.
    backbone=dict(type="ResNet", depth=50, zero_init_residual=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="PaCoHead",
        num_classes=1000,
        in_channels=2048,
        feat_channels=128,
        queue_size=8192,
        projector=dict(type="Projector", num_layers=2, norm=True),
        loss=dict(type="PaCoLoss", alpha=0.05, temperature=0.2),
    ),
    momentum=0.999,
)
