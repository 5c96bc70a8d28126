_base_ = [
    "../_base_/models/resnet32_proco.py",
    "../_base_/datasets/cifar100_lt_three_views.py",
    "../_base_/schedules/cifar_200e.py",
    "../_base_/default_runtime.py",
]

optim_wrapper = dict(optimizer=dict(lr=0.3, weight_decay=2e-4))
custom_hooks = [*_base_.custom_hooks, dict(type="ProCoEpochHook")]
