# MAE's fine-tuning: AdamW with a learning rate that falls from layer to layer.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    # 5e-4 for 256 images, and a step has 1024: 32 on each of 8 processes, 4 times.
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.05),
    accumulative_counts=4,
    constructor="LearningRateDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=5e-4,  # 1e-6 for the last layer
        by_epoch=True,
        begin=5,
        end=100,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
