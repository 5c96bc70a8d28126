_base_ = [
    "../_base_/models/resnet32_class_centers.py",
    "../_base_/datasets/cifar100_lt.py",
    "../_base_/schedules/cifar_400e.py",
    "../_base_/default_runtime.py",
]
