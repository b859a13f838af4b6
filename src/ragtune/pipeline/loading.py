"""Models by name, as evaluation and search use them: with their passage side, in the precision that is asked for."""

from __future__ import annotations

from pathlib import Path

from ragtune.models import load_model
from ragtune.models.adapting import TwoSided
from ragtune.models.dense import DenseModel
from ragtune.models.dense_loading import save_folder_of
from ragtune.models.transformer import TransformerEncoder
from ragtune.recipe import Family, ModelRecipe, Precision
from ragtune.run import read_json
from ragtune.training.precision import compute_dtype

# What another model takes over from a recipe's model: where it comes from, and the length of texts that is compared
SHARED = ("family", "cache_dir", "trust_remote_code", "token", "query_max_tokens", "passage_max_tokens")


BI_ENCODERS: tuple[Family, ...] = ("dense", "late", "sparse")


def loaded(recipe: ModelRecipe, *, precision: Precision = "fp32") -> TransformerEncoder:
    """A bi-encoder that encodes in a precision."""
    model = load_model(recipe)
    assert isinstance(model, TransformerEncoder)
    model.encode_dtype = compute_dtype(precision, device=model.device)
    return model


def with_passage_side(model: TransformerEncoder, *, precision: Precision = "fp32") -> TransformerEncoder | TwoSided:
    """The model, or, where it was tuned on the query side alone, the model beside the one that encodes passages."""
    name = model.notes.get("passage_model")
    if not name or not isinstance(model, DenseModel):
        return model
    reads = model.settings["passage"]
    side = ModelRecipe(
        name=name,
        pooling=model.head.pooling,
        normalize=model.head.normalize,
        passage_prompt=reads.prompt,
        passage_prompt_format=reads.format,
        passage_max_tokens=reads.max_tokens,
    )
    passage = loaded(side, precision=precision)
    assert isinstance(passage, DenseModel)
    return TwoSided(query=model, passage=passage)


def from_anywhere(recipe: ModelRecipe, name: str) -> ModelRecipe:
    """The recipe for a model folder, a run folder, a hub name or a built-in."""
    if not Path(name).is_dir():
        return recipe.model_copy(update={"name": name})
    folder = save_folder_of(name)
    return recipe.model_copy(update={"name": str(folder), "family": _family(folder, asked=recipe.family)})


def _family(folder: Path, *, asked: Family) -> Family:
    """A folder that ragtune saved says itself which kind of bi-encoder it holds."""
    path = folder / "ragtune.json"
    said = read_json(path).get("family") if path.is_file() else None
    return said if asked in BI_ENCODERS and said in BI_ENCODERS else asked


def other_model(recipe: ModelRecipe, name: str) -> ModelRecipe:
    """Another model than the recipe's: it says itself how it pools and prompts; only ``SHARED`` is taken over."""
    if name == recipe.name:
        return recipe.model_copy(update={"projection_dims": None})
    return from_anywhere(ModelRecipe(**{key: getattr(recipe, key) for key in SHARED}), name)
