_base_ = "../_base_/segmentation_runtime.py"

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[80.0] * 3, std=[60.0] * 3, size=(48, 48)
    ),
    backbone=dict(type="SmallSegBackbone"),
    decode_head=dict(
        type="FCNHead",
        in_channels=32,
        channels=64,
        num_convs=1,
        concat_input=False,
        num_classes=11,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    test_cfg=dict(mode="whole"),
)

pipeline = [dict(type="LoadScene"), dict(type="PackSegInputs")]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="DigitsScenes", split="train", num_scenes=600, pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="DigitsScenes", split="test", num_scenes=200, pipeline=pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="LongTailIoUMetric",
    # The pixels of each class in the training split, counted by tools/count_pixels.py.
    class_pixels=[1045922, 70234, 49962, 40539, 25149, 20553, 13033, 8637, 6842, 4767, 4088],
    few=0.005,
)
test_evaluator = val_evaluator

max_iters = 700
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=5e-3, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=50),
    dict(type="PolyLR", power=0.9, eta_min=0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters),
)
