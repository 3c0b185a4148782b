"""The vector index: presets, faiss, tuning, Milvus."""
