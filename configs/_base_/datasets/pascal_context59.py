train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomResize", scale=(520, 520), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(480, 480), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
# Labels keep their size: predictions are compared with them at that size.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(520, 520), keep_ratio=True),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="PascalContextDataset59",
        data_root="data/VOCdevkit/VOC2010",
        ann_file="ImageSets/SegmentationContext/train.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
        reduce_zero_label=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="PascalContextDataset59",
        data_root="data/VOCdevkit/VOC2010",
        ann_file="ImageSets/SegmentationContext/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
        reduce_zero_label=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
