"""The index of descriptors: presets, faiss, tuning."""
