default_scope = "mmseg"
custom_imports = dict(imports=["paco.mmseg"], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")])
log_processor = dict(by_epoch=False)

log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
