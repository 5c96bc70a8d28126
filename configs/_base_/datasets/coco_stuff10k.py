_base_ = "./segmentation.py"

images = dict(type="COCOStuffDataset", data_root="data/coco_stuff10k")
training = dict(img_path="images/train2014", seg_map_path="annotations/train2014")
test = dict(img_path="images/test2014", seg_map_path="annotations/test2014")

train_dataloader = dict(dataset=dict(data_prefix=training, **images))
val_dataloader = dict(dataset=dict(data_prefix=test, **images))
test_dataloader = val_dataloader
