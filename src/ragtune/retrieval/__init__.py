"""Exact search, vector stores, BM25, fusion and the second stage; import from the modules, only some need torch."""
