# scikit-learn's digits, 8 x 8 grey, with a long tail: 110 training images of digit 0, 2 of digit 9.
data_preprocessor = dict(mean=[77.8], std=[95.9])

view = [
    dict(type="NumpyToPIL"),
    dict(
        type="torchvision/RandomAffine",
        degrees=10,
        translate=(0.08, 0.08),
        scale=(0.9, 1.1),
        interpolation="bilinear",
    ),
    dict(type="PILToNumpy"),
    dict(type="GaussianNoise", std=25),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="DigitsLT",
        split="train",
        imbalance_factor=50,
        pipeline=[*view, dict(type="PackInputs")],
    ),
)
val_dataloader = dict(
    batch_size=600,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="DigitsLT", split="test", pipeline=[dict(type="PackInputs")]),
)
val_evaluator = dict(type="LongTailMetric")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
