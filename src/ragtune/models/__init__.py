"""Model families: loading, forward passes and saving."""

from ragtune.models.families import FAMILIES, FamilySpec, load_model

__all__ = ["FAMILIES", "FamilySpec", "load_model"]
