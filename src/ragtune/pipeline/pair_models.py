"""Models that score pairs of query and passage, and models that find candidates, by their family's row in a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from numpy.typing import ArrayLike

from ragtune.data.records import Dataset, Passage, Query
from ragtune.errors import ModelError, Problem
from ragtune.models import FAMILIES
from ragtune.models.builtin import model_folder
from ragtune.pipeline.loading import SHARED, from_anywhere, loaded, with_passage_side
from ragtune.pipeline.searching import cache_folder
from ragtune.recipe import ModelRecipe, Precision
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.mining import DenseFinder, Finder
from ragtune.retrieval.search import PairScorer
from ragtune.retrieval.teaching import EncoderTeacher, PairTeacher
from ragtune.retrieval.vector_files import passage_vectors
from ragtune.run import hash_folder, hash_json
from ragtune.training.precision import compute_dtype

Say = Callable[[str], None]
RERANKER = "reranker"


@final
@dataclass(frozen=True, slots=True)
class Teacher:
    """A loaded teacher and a hash that differs between teachers that give other scores."""

    model: PairTeacher
    fingerprint: str


def load_teacher(recipe: ModelRecipe, *, precision: Precision) -> Teacher:
    """The teacher that a recipe names. Raises ModelError for a family that cannot score pairs."""
    check_family(recipe.family, used_as="teacher", name=recipe.name)
    recipe = from_anywhere(recipe, recipe.name)
    fingerprint = hash_json(
        {"model": hash_folder(model_folder(recipe)), "reads": _reading(recipe), "precision": precision}
    )
    return Teacher(_teacher(recipe, precision=precision), fingerprint)


def _teacher(recipe: ModelRecipe, *, precision: Precision) -> PairTeacher:
    """By the family table: a model that reads pairs scores them itself, a bi-encoder by its vectors."""
    if recipe.family in FINDERS:
        return EncoderTeacher(with_passage_side(loaded(recipe, precision=precision), precision=precision))
    spec = FAMILIES[recipe.family]
    model = spec.load(recipe)
    if not (spec.pairs and isinstance(model, PairTeacher)):
        found, do = f"family {recipe.family}", "use a dense model or a reranker"
        raise ModelError(Problem("the model cannot score pairs", recipe.name, found, do))
    model.encode_dtype = compute_dtype(precision, device=model.device)
    return model


def load_pair_scorer(recipe: MineRecipe, name: str, *, used_as: str) -> PairScorer:
    """A reranker as a function of texts. Raises ModelError while there is no such family, or for another model."""
    check_family(RERANKER, used_as=used_as, name=name)
    shared = ModelRecipe(**{key: getattr(recipe.model, key) for key in SHARED})
    model = _teacher(from_anywhere(shared.model_copy(update={"family": RERANKER}), name), precision=recipe.precision)

    def score(queries: Sequence[str], passages: Sequence[str]) -> ArrayLike:
        asked = [Query(str(place), text) for place, text in enumerate(queries)]
        return model.score_pairs(asked, [Passage(str(place), text) for place, text in enumerate(passages)])

    return score


def check_family(family: str, *, used_as: str, name: str) -> None:
    """Raise ModelError for a family that is not in the family table."""
    if family in FAMILIES:
        return
    raise ModelError(
        Problem(
            what=f"there are no models of the family {family!r}",
            where=f"{used_as} {name}",
            found=f"families: {', '.join(FAMILIES)}",
            do="leave it out, or use a dense model (ragtune mine --model A --model B)",
        )
    )


def load_finder(dataset: Dataset, name: str, *, recipe: MineRecipe, say: Say) -> Finder:
    """A retriever over the dataset's passages. Raises ModelError for a family that cannot search."""
    check_family(recipe.model.family, used_as="model", name=name)
    if recipe.model.family not in FINDERS:
        found = f"family {recipe.model.family}"
        raise ModelError(Problem("the model cannot search", name, found, f"families that can: {', '.join(FINDERS)}"))
    return FINDERS[recipe.model.family](dataset, name, recipe, say)


def _dense_finder(dataset: Dataset, name: str, recipe: MineRecipe, say: Say) -> Finder:
    model = from_anywhere(recipe.model, name)
    encoder = with_passage_side(loaded(model, precision=recipe.precision), precision=recipe.precision)
    texts = [passage.content for passage in dataset.corpus.values()]
    path = cache_folder() / "vectors" / f"{_vectors_key(texts, model, recipe)}.npy"
    if not path.is_file():
        say(f"encoding {len(texts):,} passages with {name}")
    passage_ND = passage_vectors(texts, encoder, path, kept=recipe.vectors, say=say)
    return DenseFinder(name, encoder=encoder, passage_ND=passage_ND, ids=list(dataset.corpus))


FINDERS: Mapping[str, Callable[[Dataset, str, MineRecipe, Say], Finder]] = MappingProxyType({"dense": _dense_finder})
"""How a model of a family finds candidates."""


def _vectors_key(texts: Sequence[str], model: ModelRecipe, recipe: MineRecipe) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d " % len(data) + data)
    key = {
        "texts": digest.hexdigest(),
        "model": hash_folder(model_folder(model)),
        "reads": _reading(model),
        "kept": recipe.vectors,
        "precision": recipe.precision,
    }
    return hash_json(key)[:32]


def _reading(model: ModelRecipe) -> dict[str, object]:
    """Everything of a model recipe that changes what it makes of a text."""
    unread = {"name", "cache_dir", "token", "lora", "freeze", "dropout"}
    return model.model_dump(mode="json", exclude=unread)


def part_path(teacher: Teacher) -> Path:
    """Where a teacher's scores are kept while they come, and for the next time."""
    return cache_folder() / "teacher" / f"{teacher.fingerprint[:32]}.jsonl"
