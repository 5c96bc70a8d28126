# Cross entropy + alpha x SupCon, with PaCo's views, queue and key encoder.
_base_ = "./paco_if100.py"

model = dict(
    head=dict(
        prior=False,
        loss=dict(_delete_=True, type="MultiTaskLoss", alpha=0.5, temperature=0.05),
    )
)
