"""Distillation from a teacher's descriptors."""
