# BCL whose classifier sees images mixed with those of a class-balanced choice.
_base_ = "./bcl_if100.py"

model = dict(head=dict(type="ConCutMixHead", tau=0.9, rectification=20 / 255, rectify_after=100))
data_preprocessor = dict(partner_cutmix_prob=0.5)

simclr32 = [
    _base_.simclr32[0],
    dict(_base_.simclr32[1], scale=(0.2, 1.0)),
    *_base_.simclr32[2:],
    dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
]
# The classifier's view has no hole.
autoaug = _base_.autoaug_cutout[:-1]
views = dict(type="ContrastViews", views=[simclr32, simclr32], classification=autoaug)
images = dict(_base_.train_dataloader.dataset, pipeline=[views])
train_dataloader = dict(
    dataset=dict(_delete_=True, type="WithBalancedPartner", dataset=images),
)
