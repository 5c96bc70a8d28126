_base_ = "./gpaco_vit_b.py"

model = dict(
    backbone=dict(
        arch="large",
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint="https://download.openmmlab.com/mmselfsup/1.x/mae/mae_vit-large-p16_8xb512-fp16-coslr-1600e_in1k/mae_vit-large-p16_8xb512-fp16-coslr-1600e_in1k_20220825-cc7e98c9.pth"
        ),
    ),
    head=dict(in_channels=1024),
)

# 1e-3 for 256 images, and a step has 1024: 16 on each of 8 processes, 8 times.
optim_wrapper = dict(
    optimizer=dict(lr=4e-3), accumulative_counts=8, paramwise_cfg=dict(layer_decay_rate=0.75)
)
warmup, cosine = _base_.param_scheduler
param_scheduler = [warmup, dict(cosine, eta_min_ratio=2.5e-4, end=50)]
train_cfg = dict(max_epochs=50)
train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=128)
