model = dict(
    type="PaCoClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch="base",
        patch_size=16,
        drop_path_rate=0.1,
        out_type="avg_featmap",
        final_norm=False,
        # MAE's encoder after 1600 epochs.
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmselfsup/1.x/mae/mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k/mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth",
            prefix="backbone.",
        ),
    ),
    head=dict(
        type="PaCoHead",
        num_classes=1000,
        in_channels=768,
        feat_channels=128,
        queue_size=8192,
        projector=dict(type="Projector", num_layers=3, norm=False, act_cfg=dict(type="GELU")),
        loss=dict(type="PaCoLoss", alpha=0.2, temperature=0.2, label_smoothing=0.1),
        init_cfg=dict(type="TruncNormal", layer="ClassCenters", std=2e-5),
    ),
    momentum=None,
)
