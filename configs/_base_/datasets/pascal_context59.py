_base_ = "./segmentation.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomResize", scale=(520, 520), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(480, 480), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(520, 520), keep_ratio=True),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]

images = dict(
    type="PascalContextDataset59",
    data_root="data/VOCdevkit/VOC2010",
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
)
lists = "ImageSets/SegmentationContext"

train_dataloader = dict(
    dataset=dict(ann_file=f"{lists}/train.txt", pipeline=train_pipeline, **images)
)
val_dataloader = dict(dataset=dict(ann_file=f"{lists}/val.txt", pipeline=test_pipeline, **images))
test_dataloader = val_dataloader
