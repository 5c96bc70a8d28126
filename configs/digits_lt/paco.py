_base_ = [
    "../_base_/models/small_conv_net_paco.py",
    "../_base_/datasets/digits_lt_contrast_views.py",
    "../_base_/schedules/digits.py",
    "../_base_/default_runtime.py",
]
