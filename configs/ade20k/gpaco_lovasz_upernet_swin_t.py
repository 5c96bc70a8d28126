_base_ = "./gpaco_upernet_swin_t.py"

model = dict(
    decode_head=dict(
        loss_decode=[
            dict(type="CrossEntropyLoss", loss_weight=1.0),
            dict(type="LovaszLoss", reduction="none", loss_weight=1.0),
        ]
    )
)
