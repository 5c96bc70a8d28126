# BCL whose classifier sees images mixed with those of a class-balanced choice.
_base_ = "./bcl_r50.py"

model = dict(head=dict(type="ConCutMixHead", tau=0.99, rectification=200 / 255, rectify_after=70))
data_preprocessor = dict(partner_cutmix_prob=0.5)

images = _base_.train_dataloader.dataset
train_dataloader = dict(
    dataset=dict(_delete_=True, type="WithBalancedPartner", dataset=images),
)

constant, cosine = _base_.param_scheduler
param_scheduler = [dict(constant, end=100), dict(cosine, end=100, T_max=101)]
train_cfg = dict(max_epochs=100)
