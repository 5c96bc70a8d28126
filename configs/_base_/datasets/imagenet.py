_base_ = "./contrast_views_224.py"

images = dict(type="ImageNet", data_root="data/imagenet")

train_dataloader = dict(dataset=dict(images, split="train"))
val_dataloader = dict(dataset=dict(images, split="val"))
val_evaluator = dict(_delete_=True, type="Accuracy", topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
