"""Loading a reranker: a CrossEncoder folder, a plain classifier of one or two labels, a bare encoder, or a decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ragtune.errors import ModelError, Problem
from ragtune.models import packing
from ragtune.models.base import KINDS, Inputs, Kind, TextSettings
from ragtune.models.builtin import model_folder
from ragtune.models.folders import reading
from ragtune.models.pair_format import (
    DEFAULT_TEMPLATE,
    PairFormat,
    prompt_format,
    special_token_format,
    template_of_chat,
    text_prefixes,
)
from ragtune.models.pretrained import (
    access,
    check_complete,
    is_decoder,
    length_limit,
    load_tokenizer,
    quiet,
    set_dropout,
)
from ragtune.models.reranker import ACTIVATIONS, PairReading, Reranker
from ragtune.models.reranker_heads import Answers, Head, answer_head, classifier_head, one_logit
from ragtune.recipe import ModelRecipe
from ragtune.recipe_families import Activation
from ragtune.run import read_json

DEFAULT_YES, DEFAULT_NO = " yes", " no"
# Parts of a classification head that the file of a bare encoder lacks; a fresh head is the same every time
HEAD_PARTS = ("classifier", "score", "pooler", "head", "pre_classifier")
HEAD_SEED = 0
# The probe of packing: longer than an attention window of usual width
PROBE_TOKENS = (61, 9, 23)
READABLE = ("CrossEncoder", "SentenceTransformer")


def load_reranker(recipe: ModelRecipe) -> Reranker:
    """Load a reranker. Raises ``ModelError`` when the folder is missing, unreadable or no reranker can come of it."""
    folder = _backbone_folder(model_folder(recipe))
    own = _said(folder, "ragtune.json")
    config = _config(recipe, folder)
    generates = is_decoder(config) and not _is_classifier(config)
    tokenizer = load_tokenizer(recipe, recipe.tokenizer or folder, rows=getattr(config, "vocab_size", None))
    network = _network(recipe, folder, config=config, generates=generates)
    reads = _reading(recipe, folder, own=own, network=network, tokenizer=tokenizer, generates=generates)
    head: Head | None
    if reads.answers is not None:
        head = answer_head(reads.answers)
    else:
        head = classifier_head(network, decoder=is_decoder(config))
    if recipe.dropout is not None:
        set_dropout(network, recipe.dropout)
    model = Reranker(name=recipe.name, network=network, tokenizer=tokenizer, reading=reads, head=head)
    model.fresh_head = not generates and not _is_classifier(config)
    model.notes = {"base_model": own["base_model"]} if "base_model" in own else {}
    _settle(model)
    return model.eval()


def _backbone_folder(folder: Path) -> Path:
    """Where the weights of a sentence-transformers folder are; refuses folders of other kinds."""
    said = _said(folder, "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    family = _said(folder, "ragtune.json").get("family", "reranker")
    kinds: list[dict[str, str]] = []
    if (folder / "modules.json").is_file():
        with reading(folder):
            kinds = list(read_json(folder / "modules.json"))
    names = [kind["type"].rpartition(".")[2] for kind in kinds]
    cross = said == "CrossEncoder"
    if said not in READABLE or family not in ("reranker", "dense"):
        raise _refused(folder, found=f"a {said} of the family {family}")
    if cross and names and names not in (["Transformer"], ["Transformer", "LogitScore"]):
        raise _refused(folder, found=f"a CrossEncoder of the modules {', '.join(names)}")
    return folder / kinds[0]["path"] if kinds else folder


def _refused(folder: Path, *, found: str) -> ModelError:
    return ModelError(
        Problem(
            what="no reranker can be made of this model",
            where=str(folder),
            found=found,
            do="give a CrossEncoder folder, a classifier of one or two labels, a bare encoder, or a language model",
        )
    )


def _said(folder: Path, name: str) -> dict[str, Any]:
    with reading(folder):
        return dict(read_json(folder / name)) if (folder / name).is_file() else {}


def _is_classifier(config: Any) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def _config(recipe: ModelRecipe, folder: Path) -> Any:
    from transformers import AutoConfig

    source = recipe.config or folder
    with reading(source):
        config = AutoConfig.from_pretrained(source, **access(recipe))
    if getattr(config, "is_encoder_decoder", False):
        raise _refused(folder, found=f"{config.model_type}: an encoder with a decoder")
    if _is_classifier(config) and config.num_labels > 2:
        raise _refused(folder, found=f"a classifier of {config.num_labels} labels")
    if not _is_classifier(config):
        config.num_labels = 1
    return config


def _network(recipe: ModelRecipe, folder: Path, *, config: Any, generates: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind: Any = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
    fresh = not generates and not _is_classifier(config)
    with quiet(), reading(folder), torch.random.fork_rng(devices=[]):
        torch.manual_seed(HEAD_SEED)
        network, loaded = kind.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, **access(recipe)
        )
        check_complete(folder, missing=loaded["missing_keys"], may_lack=HEAD_PARTS if fresh else ())
    network.config.use_cache = False
    if network.config.num_labels == 2 and not generates:
        one_logit(network)
    return network


def _reading(
    recipe: ModelRecipe, folder: Path, *, own: dict[str, Any], network: Any, tokenizer: Any, generates: bool
) -> PairReading:
    pair = own.get("pair", {})
    template = recipe.pair.template or pair.get("template")
    if generates or (template is not None and is_decoder(network.config)):
        form = prompt_format(tokenizer, template or template_of_chat(tokenizer) or DEFAULT_TEMPLATE)
    else:
        form = special_token_format(tokenizer, where=recipe.name)
        if getattr(network.config, "type_vocab_size", 0) < 2 or "token_type_ids" not in tokenizer.model_input_names:
            form = replace(form, segments=False)
    limit = _pair_limit(recipe, said=pair.get("max_tokens"), limit=length_limit(network, tokenizer), form=form)
    activation: Activation = recipe.pair.activation or pair.get("activation") or _activation(folder, network.config)
    prefixes = text_prefixes(form.template) if form.template is not None else ("", "")
    return PairReading(
        form=form,
        max_tokens=limit,
        settings={kind: _settings(recipe, own, kind=kind, room=limit - form.around) for kind in KINDS},
        prefixes=dict(zip(KINDS, prefixes, strict=True)),
        activation=activation,
        answers=_answers(recipe, folder, tokenizer) if generates else None,
    )


def _pair_limit(recipe: ModelRecipe, *, said: int | None, limit: int, form: PairFormat) -> int:
    asked, least = recipe.pair.max_tokens, form.around + 2
    if asked is not None and not least <= asked <= limit:
        raise ModelError(
            Problem(
                what="model.pair.max_tokens leaves no room for a pair" if asked < least else "pairs are too long",
                where=f"{recipe.name}: model.pair.max_tokens",
                found=str(asked),
                do=f"set it between {least} and {limit}",
            )
        )
    return asked or min(said or limit, limit)


def _settings(recipe: ModelRecipe, own: dict[str, Any], *, kind: Kind, room: int) -> TextSettings:
    """A query may take half of the pair unless it is told otherwise; at least one token is left for the passage."""
    asked = {"query": recipe.query_max_tokens, "passage": recipe.passage_max_tokens}[kind]
    if asked is not None and asked >= room + (kind == "passage"):
        raise ModelError(
            Problem(
                what=f"model.{kind}_max_tokens leaves no room beside it",
                where=recipe.name,
                found=str(asked),
                do=f"set it below {room + (kind == 'passage')}, or raise model.pair.max_tokens",
            )
        )
    usual = max(1, room // 2) if kind == "query" else room
    prompt = {"query": recipe.query_prompt, "passage": recipe.passage_prompt}[kind]
    format_ = {"query": recipe.query_prompt_format, "passage": recipe.passage_prompt_format}[kind]
    # what a dense model's folder says of prompts and lengths is not meant for pairs
    said = own if own.get("family") == "reranker" else {}
    return TextSettings(
        prompt=prompt if prompt is not None else said.get(f"{kind}_prompt", ""),
        format=format_ if format_ != "{}{}" else said.get(f"{kind}_prompt_format", format_),
        max_tokens=asked or min(said.get(f"{kind}_max_tokens", usual), room),
    )


def _activation(folder: Path, config: Any) -> Activation:
    """What the folder applies to a score: as sentence-transformers reads it, old forms too."""
    named = [
        _said(folder, "config_sentence_transformers.json").get("activation_fn"),
        (getattr(config, "sentence_transformers", None) or {}).get("activation_fn"),
        getattr(config, "sbert_ce_default_activation_function", None),
    ]
    written = next((str(name) for name in named if name), "Sigmoid")
    for name, kind in ACTIVATIONS.items():
        if written.rpartition(".")[2] == kind.__name__:
            return name
    raise _refused(folder, found=f"the activation {written}; set model.pair.activation")


def _answers(recipe: ModelRecipe, folder: Path, tokenizer: Any) -> Answers:
    said = _said(folder, "1_LogitScore/config.json")
    if said and recipe.pair.yes_answer is None and recipe.pair.no_answer is None:
        return Answers(said["true_token_id"], said.get("false_token_id"))
    yes = _token(tokenizer, recipe.pair.yes_answer or DEFAULT_YES, where="model.pair.yes_answer")
    no = DEFAULT_NO if recipe.pair.no_answer is None else recipe.pair.no_answer
    return Answers(yes, _token(tokenizer, no, where="model.pair.no_answer") if no else None)


def _token(tokenizer: Any, text: str, *, where: str) -> int:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ModelError(
            Problem(
                what="the answer is not one token of this model",
                where=where,
                found=f"{text!r} is {len(ids)} tokens: {' '.join(tokenizer.convert_ids_to_tokens(ids))}",
                do="name a text that is one token",
            )
        )
    return ids[0]


def _settle(model: Reranker) -> None:
    """Find the quickest way to run the network that gives its own scores: packed, its parts padded, or as a whole.

    A probe of three pairs decides, not a list of architectures.
    """
    if model.head is None:
        return
    network, head = model.network, model.head
    lengths = [min(n, model.reading.max_tokens) for n in PROBE_TOKENS]
    ids = [np.arange(5, 5 + n, dtype=np.int32) % network.config.vocab_size for n in lengths]
    inputs = Inputs(ids, seconds=[n // 2 for n in lengths])
    batch = inputs.batch(range(len(ids)), device=model.device)
    model.eval()
    with torch.inference_mode():
        wanted = _whole(model, inputs)
        if not torch.allclose(model(batch), wanted, rtol=1e-3, atol=1e-4):
            model.head = None
            return
        if not getattr(model.backbone, "_supports_attention_backend", False):
            return
        packing.register()
        plain = network.config._attn_implementation
        model.backbone.set_attn_implementation(packing.NAME)
        model.packed = True
        try:
            same = torch.allclose(model(batch), wanted, rtol=1e-3, atol=1e-4)
        except (TypeError, ValueError, RuntimeError, AssertionError):
            same = False
        if not same:
            model.backbone.set_attn_implementation(plain)
            model.packed = False
    assert model.head is head


def _whole(model: Reranker, inputs: Inputs) -> torch.Tensor:
    """``score_B1`` of the network as transformers runs it, pair by pair."""
    answers, found = model.reading.answers, []
    for place in range(len(inputs)):
        given = model.padded(inputs.batch([place], device=model.device))
        logit = model.network(**given, use_cache=False).logits
        if answers is None:
            found.append(logit[0])
        else:
            last = logit[0, -1, answers.ids]
            found.append(last[:1] - last[1:] if answers.no is not None else last[:1])
    return torch.stack(found).float()
