_base_ = "./segmentation.py"

images = dict(type="ADE20KDataset", data_root="data/ade/ADEChallengeData2016")
training = dict(img_path="images/training", seg_map_path="annotations/training")
validation = dict(img_path="images/validation", seg_map_path="annotations/validation")

train_dataloader = dict(batch_size=2, dataset=dict(data_prefix=training, **images))
val_dataloader = dict(dataset=dict(data_prefix=validation, **images))
test_dataloader = val_dataloader
