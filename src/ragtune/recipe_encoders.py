"""Recipe parts of the families late and sparse. Importable without torch."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field

from ragtune.recipe_part import Part, Positive, Share


@final
class LateRecipe(Part):
    """Late interaction: what each side reads, which tokens count, and how many vectors an index keeps."""

    dims: Positive | None = 128
    """Width of the projection that a model without one gets; none = token states as they are."""
    expansion_tokens: Annotated[int, Field(ge=0)] | None = None
    """Queries are filled up to this many tokens with mask tokens; 0 = not; none = the folder's, 32 for a new head."""
    attend_to_expansion: bool | None = None
    """Whether the query's own tokens see those mask tokens; none = what the folder says, true for a new head."""
    skip_punctuation: bool | None = None
    """Punctuation of passages does not count; none = what the folder says, true for a new head."""
    markers: bool = True
    """A new head gets marker tokens before queries and passages, where the vocabulary has unused ones."""
    pool_factor: Annotated[float, Field(ge=1)] = 1.0
    """Search keeps one vector for this many passage tokens, means of like ones (Clavié et al. 2024)."""


@final
class SparseRecipe(Part):
    """Vocabulary weights: how hard they are pushed to zero, and how many are kept."""

    query_flops: Annotated[float, Field(ge=0)] = 3e-3
    """Weight of the FLOPS penalty on queries (Paria et al. 2020, arXiv:2004.05665)."""
    passage_flops: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the FLOPS penalty on passages."""
    flops_warmup: Share = 0.33
    """Share of the steps in which both weights rise from 0, with the square of the step (SPLADE)."""
    query_terms: Positive | None = None
    """Terms a query keeps when it is encoded, the heaviest; none = all, or what the folder says."""
    passage_terms: Positive | None = None
    """Terms a passage keeps when it is encoded, the heaviest; none = all, or what the folder says."""
