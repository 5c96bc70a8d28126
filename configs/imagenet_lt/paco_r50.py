_base_ = [
    "../_base_/models/resnet50_paco.py",
    "../_base_/datasets/imagenet_lt.py",
    "../_base_/schedules/imagenet_400e.py",
    "../_base_/default_runtime.py",
]
