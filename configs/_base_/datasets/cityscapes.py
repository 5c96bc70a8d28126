_base_ = "./segmentation.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(512, 1024), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]

images = dict(type="CityscapesDataset", data_root="data/cityscapes", reduce_zero_label=False)
training = dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train")
validation = dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    dataset=dict(data_prefix=training, pipeline=train_pipeline, **images),
)
val_dataloader = dict(
    num_workers=4, dataset=dict(data_prefix=validation, pipeline=test_pipeline, **images)
)
test_dataloader = val_dataloader
