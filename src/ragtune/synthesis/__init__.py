"""Queries for a corpus: written by a language model or read off the documents' structure, then filtered."""
