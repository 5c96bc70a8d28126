# Supervised contrast alone, with PaCo's views, queue and key encoder; the centers are a linear
# classifier of its features that trains along and leaves them as they are.
_base_ = "./multi_task_if100.py"

model = dict(head=dict(detach_centers=True, loss=dict(alpha=1.0)))
