projector = dict(type="Projector", num_layers=2, norm=True)

model = dict(
    type="PaCoClassifier",
    # The paper's code starts from torchvision's initialisation, not the toolbox's.
    backbone=dict(type="ResNet", depth=50, zero_init_residual=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="BCLHead",
        num_classes=1000,
        in_channels=2048,
        feat_channels=1024,
        scale=30.0,
        projector=projector,
        prototype_projector=projector,
        contrast_loss=dict(type="BCLLoss", temperature=0.07),
        classification_weight=1.0,
        contrast_weight=0.35,
    ),
    momentum=None,
)
