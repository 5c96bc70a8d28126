_base_ = "./contrast_views_224.py"

data_preprocessor = dict(
    mean=[118.83, 120.105, 96.9],  # (.466, .471, .380) of 255
    std=[49.725, 49.47, 48.96],  # (.195, .194, .192) of 255
)

images = dict(type="INaturalist", data_prefix="data/inat2018")

train_dataloader = dict(dataset=dict(images, ann_file="data/inat2018/train2018.json"))
# The labels of the test images are not public.
val_dataloader = dict(dataset=dict(images, ann_file="data/inat2018/val2018.json", test_mode=True))
test_dataloader = val_dataloader
