norm_cfg = dict(type="SyncBN")
model = dict(
    type="PaCoEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="SwinTransformer",
        pretrain_img_size=224,
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/swin/"
            "swin_tiny_patch4_window7_224_20220317-1cdeb081.pth",
        ),
    ),
    decode_head=dict(
        type="UPerHead",
        in_channels=[96, 192, 384, 768],
        in_index=[0, 1, 2, 3],
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
    ),
    contrast=dict(loss=dict(type="PixelPaCoLoss", alpha=0.01, temperature=0.07)),
    test_cfg=dict(mode="whole"),
)
