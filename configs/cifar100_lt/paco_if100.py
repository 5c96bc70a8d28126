_base_ = [
    "../_base_/models/resnet32_paco.py",
    "../_base_/datasets/cifar100_lt_contrast_views.py",
    "../_base_/schedules/cifar_400e.py",
    "../_base_/default_runtime.py",
]
