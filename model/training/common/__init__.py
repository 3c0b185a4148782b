"""Code shared by fine-tuning and distillation."""
