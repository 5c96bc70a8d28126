_base_ = [
    "../_base_/models/resnet32_bcl.py",
    "../_base_/datasets/cifar100_lt_three_views.py",
    "../_base_/schedules/cifar_200e.py",
    "../_base_/default_runtime.py",
]
