"""PASCAL VOC classification: linear SVMs on frozen features, and fine-tuning."""
