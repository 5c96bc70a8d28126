_base_ = "./contrast_views_224.py"

images = dict(type="ImageNetLT", data_prefix="data/imagenet")

train_dataloader = dict(dataset=dict(images, ann_file="data/imagenet_lt/ImageNet_LT_train.txt"))
val_dataloader = dict(
    dataset=dict(images, ann_file="data/imagenet_lt/ImageNet_LT_val.txt", test_mode=True)
)
test_dataloader = dict(
    dataset=dict(images, ann_file="data/imagenet_lt/ImageNet_LT_test.txt", test_mode=True)
)
