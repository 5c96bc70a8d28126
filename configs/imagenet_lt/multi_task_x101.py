# Balanced softmax + alpha x SupCon, with GPaCo's encoder and queue.
_base_ = "./gpaco_x101.py"

model = dict(head=dict(loss=dict(_delete_=True, type="MultiTaskLoss", alpha=0.5, temperature=0.2)))
