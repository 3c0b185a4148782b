"""Training: configuration, photos, views, losses, mining, distillation."""
