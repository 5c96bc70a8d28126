_base_ = "./contrast_views_224.py"

views = dict(type="ContrastViews", views=[_base_.sim, _base_.sim])
images = dict(type="ImageList", num_classes=365, data_prefix="data/places365")

train_dataloader = dict(
    dataset=dict(
        images,
        ann_file="data/places_lt/Places_LT_train.txt",
        pipeline=[views],
    )
)
# The published figures, too, are of this list.
val_dataloader = dict(
    dataset=dict(images, ann_file="data/places_lt/Places_LT_val.txt", test_mode=True)
)
test_dataloader = val_dataloader
