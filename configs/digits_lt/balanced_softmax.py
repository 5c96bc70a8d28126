_base_ = [
    "../_base_/models/small_conv_net_class_centers.py",
    "../_base_/datasets/digits_lt.py",
    "../_base_/schedules/digits.py",
    "../_base_/default_runtime.py",
]
