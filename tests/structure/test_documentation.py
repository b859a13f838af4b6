"""The documentation says what the code does: commands, settings, recipes and examples are read from the pages."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.exceptions
import typer.main
import yaml
from pydantic import BaseModel

import ragtune
from ragtune.cli.app import app
from ragtune.errors import RecipeError
from ragtune.recipe import Recipe
from ragtune.recipe_loading import parse_recipe
from ragtune.recipe_mining import MineRecipe, ScoreRecipe
from ragtune.recipe_synthesis import SynthesisRecipe

REPOSITORY = Path(__file__).resolve().parents[2]
READMES = [REPOSITORY / "README.md", REPOSITORY / "README.zh-CN.md"]
PAGES = [*READMES, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
# Commands, and pages, whose settings are those of a recipe of their own
KINDS: dict[str, type[BaseModel]] = {"synthesize": SynthesisRecipe, "mine": MineRecipe, "score": ScoreRecipe}
PAGE_KINDS: dict[str, type[BaseModel]] = {"synthesis": SynthesisRecipe, "mining": MineRecipe}
TORCHRUN = re.compile(r"torchrun (--\w+ \S+ )*-m ragtune ")


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell_lines(path: Path) -> list[str]:
    """Every shell command of a page."""
    return [line for block in blocks(path, "bash") for line in block.splitlines() if line.strip()]


def parse_call(line: str) -> tuple[str, list[str]]:
    """The command and the recipe overrides of a `ragtune ...` line; fails where an argument or option is wrong."""
    name, *arguments = shlex.split(line)[1:]
    context = COMMANDS[name].make_context(name, arguments)
    return name, list(context.params.get("set_") or [])


def check_line(line: str) -> None:
    """Fail unless a shell line could be typed as it stands."""
    line = TORCHRUN.sub("ragtune ", line.split(" #")[0])
    program, *arguments = shlex.split(line)
    if program == "ragtune":
        name, overrides = parse_call(line)
        if name in KINDS:
            parse_recipe({}, overrides=overrides, origin=line, kind=KINDS[name])
        else:
            parse_recipe({"run": "r", "data": "d"}, overrides=overrides, origin=line)
    elif program == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments), line
    elif program == "pip":
        assert arguments == ["install", "."], line
    else:
        assert (program, arguments) == ("python", ["docs/reference.py"]), line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_shell_line_can_be_typed(path: Path) -> None:
    for line in shell_lines(path):
        check_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "ragtune train --dta x",
        "ragtune nonsense",
        "ragtune export my-dataset",
        "ragtune run recipe.yaml --set train.epoch=3",
        "make nothing",
        "curl something",
    ],
)
def test_a_wrong_line_is_seen(line: str) -> None:
    with pytest.raises((typer.exceptions.TyperException, KeyError, RecipeError, AssertionError)):
        check_line(line)


def test_the_readmes_hold_the_same_code() -> None:
    for language in ("bash", "yaml", "python"):
        english, chinese = (blocks(path, language) for path in READMES)
        assert english == chinese
        assert english


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_recipe_on_a_page_is_valid(path: Path) -> None:
    for block in blocks(path, "yaml"):
        if path.stem in PAGE_KINDS:
            parse_recipe(yaml.safe_load(block), origin=path.name, kind=PAGE_KINDS[path.stem])
        else:
            parse_recipe({"run": "r", "data": "d", **yaml.safe_load(block)}, origin=path.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_public_name_on_a_page_exists(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block, path.name, "exec")
        for names in re.findall(r"^from ragtune import (.+)$", block, re.MULTILINE):
            assert {name.strip() for name in names.split(",")} <= set(ragtune.__all__)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_that_can_be_typed(name: str) -> None:
    text, _, example = (COMMANDS[name].help or "").partition("Example: ")
    assert text.strip()
    assert parse_call(" ".join(example.split()))[0] == name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_a_command_is_explained(name: str) -> None:
    assert not [parameter.name for parameter in COMMANDS[name].params if not parameter.help]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_reference", REPOSITORY / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(reference: ModuleType) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    stale = [name for name, text in pages.items() if reference.renewed(text) != text]
    assert not stale, f"run `python docs/reference.py`: {stale}"


def test_every_part_is_on_a_page(reference: ModuleType) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert set(re.findall(r"<!-- generated: (\w+) -->", pages)) == set(reference.PARTS)


def field_exists(dotted: str) -> bool:
    """Whether a key such as `data.sources[].path` is in the recipe (a loss's own options count)."""
    part: Any = Recipe
    for key in dotted.replace("[]", "").split("."):
        if not (isinstance(part, type) and issubclass(part, BaseModel)):
            return False
        if key not in part.model_fields:
            return part.__name__ == "LossRecipe" and key == "temperature"
        part = inner_model(part.model_fields[key].annotation)
    return True


def inner_model(annotation: Any) -> Any:
    """The model class inside an annotation such as `tuple[SourceRecipe, ...]`, else the annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [inner_model(argument) for argument in getattr(annotation, "__args__", ())]
    return next((i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)), annotation)


def test_every_setting_of_flagembedding_has_its_place() -> None:
    page = (REPOSITORY / "docs" / "flagembedding-settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|[^|]*\| `([\w.\[\]]+)` \|", page, re.MULTILINE)
    settings = {setting for cell, _ in rows for setting in re.findall(r"`(\w+)`", cell)}
    assert settings == SETTINGS
    assert [key for _, key in rows if not field_exists(key)] == []


def test_an_unknown_key_is_seen() -> None:
    assert field_exists("data.sources[].path")
    assert not field_exists("data.sources[].paths")
    assert not field_exists("train.sub_batch_size")


SETTINGS = set(
    """
    model_name_or_path config_name tokenizer_name cache_dir trust_remote_code token train_data cache_path
    train_group_size query_max_len passage_max_len pad_to_multiple_of max_example_num_per_dataset
    query_instruction_for_retrieval query_instruction_format passage_instruction_for_retrieval
    passage_instruction_format knowledge_distillation kd_loss_type shuffle_ratio same_dataset_within_batch
    small_threshold drop_threshold negatives_cross_device temperature fix_position_embedding sentence_pooling_method
    normalize_embeddings sub_batch_size learning_rate fp16 bf16 num_train_epochs per_device_train_batch_size
    dataloader_drop_last warmup_ratio gradient_checkpointing deepspeed logging_steps save_steps report_to
    overwrite_output_dir output_dir
    """.split()  # noqa: SIM905
)
