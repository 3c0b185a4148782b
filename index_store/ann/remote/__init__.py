"""The vector index in a Milvus server."""
