"""What fine-tuning and distillation share."""
