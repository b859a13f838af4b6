"""Commands on data: import, export, check, split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ragtune.cli.output import show, show_json, show_table, tell
from ragtune.errors import InputError, Problem

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def _pairs(values: list[str], *, option: str) -> dict[str, str]:
    wrong = [v for v in values if "=" not in v]
    if wrong:
        raise InputError([Problem(f"{option} needs key=value", option, v, f"{option} query=question") for v in wrong])
    return {key: value for key, _, value in (v.partition("=") for v in values)}


def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a folder, or a Hugging Face dataset name.")],
    out: Annotated[Path, typer.Option(help="The dataset folder to write.")],
    format: Annotated[str, typer.Option(help="Force a format instead of detecting it.")] = "auto",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=COLUMN", help="Which column is what, for example query=question. Repeatable."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split that every row goes to.")] = None,
    positive_label: Annotated[str, typer.Option(help="Label of a positive in labelled pairs.")] = "1",
    negative_label: Annotated[str, typer.Option(help="Label of a negative in labelled pairs.")] = "0",
    duplicates: Annotated[str, typer.Option(help="merge: equal texts are one; keep: one passage a row.")] = "merge",
    empty: Annotated[str, typer.Option(help="A row with an empty text: error, skip or keep.")] = "error",
    name: Annotated[str, typer.Option(help="Name of the dataset.")] = "",
    language: Annotated[str, typer.Option(help="Language code; detected when empty.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data.")] = "",
    subset: Annotated[str | None, typer.Option(help="Configuration of a Hugging Face dataset.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawn positives of texts with a class.")] = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Convert data of any known shape into a dataset folder.

    Example: ragtune import pairs.jsonl --out my-dataset
    """
    from ragtune.data.folder import counts, write_dataset
    from ragtune.data.formats.importing import import_dataset
    from ragtune.data.formats.options import ImportOptions

    options = ImportOptions(
        format=format, columns=_pairs(column or [], option="--column"), split=split, positive_label=positive_label,
        negative_label=negative_label, duplicates=duplicates, empty=empty, name=name, language=language,
        licence=licence, subset=subset, seed=seed,
    )  # fmt: skip
    imported = import_dataset(source, options)
    tell(f"taken for {imported.detection.format}: {'; '.join(imported.detection.evidence)}")
    for notice in imported.notices:
        tell(f"note: {notice}")
    folder = write_dataset(imported.dataset, out, overwrite=overwrite)
    found = counts(imported.dataset)
    if json:
        show_json(
            {
                "folder": str(folder),
                "detection": imported.detection.as_dict(),
                "counts": found,
                "notices": list(imported.notices),
            }
        )
    else:
        show(f"wrote {folder}: {found['passages']:,} passages, {found['queries']:,} queries")


def export(
    dataset: DatasetArgument,
    out: Annotated[
        Path, typer.Option(help="The file or folder to write; its ending chooses jsonl, json, csv, tsv, parquet.")
    ],
    format: Annotated[str, typer.Option(help="flagembedding, triplets, labelled-pairs, pairs, beir ...")],
    split: Annotated[str | None, typer.Option(help="Export this split; all = every query.")] = "train",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Write a dataset in the format of another tool.

    Example: ragtune export my-dataset --format flagembedding --out train.jsonl
    """
    from ragtune.data.exporting import export_dataset
    from ragtune.data.folder_reading import read_dataset

    wanted = None if split == "all" else split
    done = export_dataset(read_dataset(dataset), out, format=format, split=wanted, overwrite=overwrite)
    for notice in done.notices:
        tell(f"note: {notice}")
    if json:
        show_json({"path": str(done.path), "format": done.format, "rows": done.rows, "notices": list(done.notices)})
    else:
        show(f"wrote {done.path}: {done.rows:,} rows of {done.format} ({done.container})")


def check(
    dataset: DatasetArgument,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer.")] = None,
    json: JsonOption = False,
) -> None:
    """Check a dataset: errors, statistics, duplicates.

    Also leakage between splits and, with --model, how many tokens the texts have.

    Example: ragtune check my-dataset --model builtin:minilm
    """
    from ragtune.data.check import check_dataset
    from ragtune.data.folder_reading import read_dataset
    from ragtune.data.statistics import dataset_statistics

    data = read_dataset(dataset)
    statistics = dataset_statistics(data, count_tokens=_token_counter(model))
    findings = check_dataset(data, statistics)
    if json:
        rows = [
            {"name": f.name, "count": f.count, "examples": list(f.examples), "meaning": f.meaning} for f in findings
        ]
        show_json({"statistics": statistics.as_dict(), "findings": rows})
        return
    show(f"{statistics.name} ({statistics.language}): the folder is sound")
    show_table(
        ["texts", "count", "blank", "equal", "near", "words mean", "words p95", "tokens p95", "tokens longest"],
        [_text_row("passages", statistics.passages), _text_row("queries", statistics.queries)],
    )
    show_table(
        ["split", "queries", "judgements", "without positive", "word overlap"],
        [[n, s.queries, s.judgements, s.without_positive, s.overlap] for n, s in statistics.splits.items()],
    )
    for finding in findings:
        examples = f", for example {', '.join(finding.examples)}" if finding.examples else ""
        show(f"- {finding.name}: {finding.count:,}{examples}\n    {finding.meaning}")


def _text_row(name: str, texts: Any) -> list[object]:
    tokens = (texts.tokens.p95, texts.tokens.longest) if texts.tokens else ("-", "-")
    return [name, texts.count, texts.blank, texts.equal, texts.near, texts.words.mean, texts.words.p95, *tokens]


def _token_counter(model: str | None) -> Any:
    if model is None:
        return None
    from ragtune.models import load_model
    from ragtune.recipe import ModelRecipe

    loaded = load_model(ModelRecipe(name=model))
    return lambda texts: [len(ids) for ids in loaded.tokenize(list(texts), kind="passage", truncate=False)]


def split(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="The dataset folder to write.")],
    dev: Annotated[float, typer.Option(help="Share (below 1) or number of train queries that go to dev.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share (below 1) or number of train queries that go to test.")] = 0.1,
    level: Annotated[
        str | None,
        typer.Option(help="What stays together: document, duplicates or query; chosen by the data when left out."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Set dev and test queries aside by duplicate group.

    Queries whose passages are the same, nearly the same, or of one document stay together.

    Example: ragtune split my-dataset --out my-dataset-split --dev 0.1 --test 0.1
    """
    from ragtune.data.folder import write_dataset
    from ragtune.data.folder_reading import read_dataset
    from ragtune.data.splitting import split_dataset

    done = split_dataset(read_dataset(dataset), dev=dev, test=test, seed=seed, level=level)
    for notice in done.notices:
        tell(f"note: {notice}")
    folder = write_dataset(done.dataset, out, overwrite=overwrite)
    sizes = {name: len(qrels) for name, qrels in done.dataset.qrels.items()}
    if json:
        show_json({"folder": str(folder), "level": done.level, "queries": sizes, "notices": list(done.notices)})
    else:
        show(f"wrote {folder}, split by {done.level}: " + ", ".join(f"{n} {count:,}" for n, count in sizes.items()))


COMMANDS: dict[str, Callable[..., None]] = {"import": import_, "export": export, "check": check, "split": split}
