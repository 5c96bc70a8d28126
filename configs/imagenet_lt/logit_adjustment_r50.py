# BCL without its contrast: the same classifier, view of the images and schedule.
_base_ = [
    "../_base_/models/resnet50_class_centers.py",
    "../_base_/datasets/imagenet_lt.py",
    "../_base_/schedules/imagenet_90e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(scale=30.0))

pipeline = [dict(type="LoadImageFromFile"), *_base_.randcls, dict(type="PackInputs")]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=pipeline))
