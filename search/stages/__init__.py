"""Stages of a search before and after reranking."""
