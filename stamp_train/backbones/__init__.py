"""Vision-language networks that methods stand on: opened, built, adapted and saved."""

from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()  # before anything here imports transformers
