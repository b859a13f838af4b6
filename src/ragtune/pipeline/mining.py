"""The commands mine, score and seal on a dataset folder: what is refused first, then the work, then whole files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ragtune.data.folder import refuse_taken, write_dataset
from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset
from ragtune.data.sealing import is_broken, refuse_trained_on, seal_test
from ragtune.errors import DataError, Problem
from ragtune.pipeline.pair_models import (
    RERANKER,
    check_family,
    load_finder,
    load_pair_scorer,
    load_teacher,
    part_path,
)
from ragtune.recipe_mining import MineRecipe, ScoreRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.mining import BM25Finder, Finder, Judges, Mined, draw_negatives, mine_negatives
from ragtune.retrieval.mining.report import audit_page
from ragtune.retrieval.teaching import Scored, score_dataset
from ragtune.run import atomic_write, write_json

Say = Callable[[str], None]
AUDIT_JSON, AUDIT_PAGE = "mining.json", "mining.md"


@final
@dataclass(frozen=True, slots=True)
class MinedFolder:
    """Where a mined dataset lies, and its audit as plain values."""

    folder: Path
    audit: dict[str, Any]


def mine_folder(
    folder: Path, recipe: MineRecipe, *, out: Path | None = None, overwrite: bool = False, say: Say = lambda line: None
) -> MinedFolder:
    """Mine for a dataset folder; the candidates and the audit go into ``out``, else into the folder itself.

    Raises InputError before the work: no such family, a taken folder, a broken seal, training queries that are sealed.
    """
    _check_models(recipe)
    dataset = _ready(folder, out, overwrite=overwrite)
    mined = draw_negatives(dataset, recipe=recipe) if recipe.random else _searched(dataset, recipe, say)
    place = _written(mined.beside(dataset), folder, out, overwrite=overwrite)
    audit = {"recipe": recipe.model_dump(mode="json", exclude={"model": {"token"}}), **mined.audit.as_dict()}
    write_json(place / AUDIT_JSON, audit)
    with atomic_write(place / AUDIT_PAGE) as file:
        file.write(audit_page(audit, name=dataset.info.name))
    return MinedFolder(place, audit)


def _check_models(recipe: MineRecipe) -> None:
    """Before anything is read: the families that the recipe's models must be of."""
    if recipe.reranker is not None:
        check_family(RERANKER, used_as="reranker", name=recipe.reranker)
    if recipe.verify is not None:
        check_family(RERANKER, used_as="verify.model", name=recipe.verify.model)


def _searched(dataset: Dataset, recipe: MineRecipe, say: Say) -> Mined:
    # a wrong reranker is found before the corpus is encoded
    reranker, verify = recipe.reranker, recipe.verify
    judges = Judges(
        reranker=None if reranker is None else load_pair_scorer(recipe, reranker, used_as="reranker"),
        verifier=None if verify is None else load_pair_scorer(recipe, verify.model, used_as="verify.model"),
    )
    finders: list[Finder] = [load_finder(dataset, name, recipe=recipe, say=say) for name in recipe.models]
    if recipe.bm25:
        say(f"indexing {len(dataset.corpus):,} passages for BM25")
        finders.append(BM25Finder(BM25Retriever(dataset.corpus, language=dataset.info.language)))
    return mine_negatives(dataset, recipe=recipe, finders=finders, judges=judges)


def score_folder(
    folder: Path, recipe: ScoreRecipe, *, out: Path | None = None, overwrite: bool = False, say: Say = lambda line: None
) -> tuple[Path, Scored]:
    """Write teacher scores into ``out``, else into the folder itself; a killed run goes on where it stopped."""
    dataset = _ready(folder, out, overwrite=overwrite)
    teacher = load_teacher(recipe.teacher, precision=recipe.precision)
    say(f"scoring with {recipe.teacher.name}")
    done = score_dataset(dataset, teacher.model, recipe=recipe, part=part_path(teacher))
    return _written(done.dataset, folder, out, overwrite=overwrite), done


def seal_folder(folder: Path, *, again: bool) -> Dataset:
    """Seal the test split of a dataset folder; ``again`` seals what is there now in the place of an older seal.

    Raises DataError for a folder that is sealed already, a missing test split, or training queries that it asks.
    """
    dataset = read_dataset(folder)
    if dataset.seal is not None and not again:
        found = "a seal that is broken" if is_broken(dataset) else "a seal that holds"
        do = "leave it, or seal what is there now: --again"
        raise DataError(Problem("the test split is sealed already", str(folder), found, do))
    sealed = seal_test(dataset)
    write_dataset(sealed, folder, overwrite=True)
    return sealed


def _ready(folder: Path, out: Path | None, *, overwrite: bool) -> Dataset:
    if out is not None:
        refuse_taken(out, overwrite=overwrite)
    dataset = read_dataset(folder)
    refuse_trained_on([dataset])
    return dataset


def _written(dataset: Dataset, folder: Path, out: Path | None, *, overwrite: bool) -> Path:
    return write_dataset(dataset, folder if out is None else out, overwrite=overwrite or out is None)
