projector = dict(type="Projector", num_layers=2, norm=True, hidden_channels=512)

model = dict(
    type="PaCoClassifier",
    backbone=dict(type="SmallImageResNet", depth=32),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="BCLHead",
        num_classes=100,
        in_channels=64,
        feat_channels=128,
        projector=projector,
        prototype_projector=projector,
        contrast_loss=dict(type="BCLLoss", temperature=0.1),
        classification_weight=2.0,
        contrast_weight=0.6,
    ),
    momentum=None,
)
