_base_ = "../cifar100_lt/multi_task_if50.py"

images = dict(type="CIFAR10LT", data_root="data/cifar10")

model = dict(head=dict(num_classes=10))
train_dataloader = dict(dataset=images)
val_dataloader = dict(dataset=images)
test_dataloader = val_dataloader
