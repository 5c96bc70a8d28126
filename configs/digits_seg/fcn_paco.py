_base_ = "./fcn.py"

model = dict(
    type="PaCoEncoderDecoder",
    contrast=dict(loss=dict(type="PixelPaCoLoss", alpha=0.01, temperature=0.07, num_pixels=256)),
)
