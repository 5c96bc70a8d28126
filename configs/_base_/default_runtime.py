default_scope = "mmpretrain"
custom_imports = dict(imports=["paco.mmpretrain"], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="AtomicCheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    # The prior of the training set, for the head and for many/medium/few.
    dict(type="ClassCountsHook"),
    # A resumed run repeats what an uninterrupted one does.
    dict(type="EpochSeedHook"),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(type="UniversalVisualizer", vis_backends=[dict(type="LocalVisBackend")])

log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
