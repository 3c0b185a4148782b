"""The index of descriptors in a Milvus server."""
