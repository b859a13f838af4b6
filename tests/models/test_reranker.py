"""Rerankers: what a pair becomes, that every way of running gives the same scores, and folders that others load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ragtune.data.records import Passage, Query
from ragtune.errors import ModelError
from ragtune.models import load_model
from ragtune.models.adapting import prepare_for_training, save_merged
from ragtune.models.base import Inputs
from ragtune.models.pair_format import chat_template, prompt_format
from ragtune.models.reranker import Reranker
from ragtune.models.reranker_heads import Answers
from ragtune.recipe import ModelRecipe

CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "electra": "ElectraForSequenceClassification",
    "modernbert": "ModernBertForSequenceClassification",
    "deberta-v2": "DebertaV2ForSequenceClassification",
    "mpnet": "MPNetForSequenceClassification",
}
LANGUAGE_MODELS = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
ANSWERS = {"pair": {"yes_answer": "cat", "no_answer": "tide"}}
QUERIES = ["who pays?", "绿茶为什么是绿色的", "what causes the tide", "who pays?", "a"]
PASSAGES = [
    "The tenant pays rent on the first day of every month.",
    "绿茶不经过发酵，所以茶汤是绿色的。",
    "a cat",
    "the moon pulls the sea " * 6,
    "b",
]


def loaded(folder: Path | str, **settings: Any) -> Reranker:
    model = load_model(ModelRecipe(name=str(folder), family="reranker", **settings))
    assert isinstance(model, Reranker)
    return model


def refused(folder: Path | str, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(folder, **settings)
    (problem,) = caught.value.problems
    assert all((problem.what, problem.where, problem.found, problem.do))
    return str(problem)


def pairs(queries: list[str] = QUERIES, passages: list[str] = PASSAGES) -> tuple[list[Query], list[Passage]]:
    return [Query(str(i), text) for i, text in enumerate(queries)], [Passage(str(i), t) for i, t in enumerate(passages)]


def any_model(zoo: Callable[..., Path], kind: str) -> Reranker:
    if kind in LANGUAGE_MODELS:
        return loaded(zoo(kind, LANGUAGE_MODELS[kind]), **ANSWERS)
    return loaded(zoo(kind, CLASSIFIERS[kind]))


# What a pair becomes


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_pair_is_what_the_tokenizer_makes_of_it(zoo: Callable[..., Path], kind: str) -> None:
    model = loaded(zoo(kind, CLASSIFIERS[kind]))
    for query, passage in zip(QUERIES, PASSAGES, strict=True):
        ids, second = model.join(*(model.tokenize([t], kind=k)[0] for t, k in ((query, "query"), (passage, "passage"))))
        whole = model.tokenizer(query, passage, return_token_type_ids=True)
        assert ids.tolist() == whole["input_ids"]
        if model.reading.form.segments:
            assert whole["token_type_ids"] == [0] * second + [1] * (len(ids) - second)


def test_the_query_keeps_its_limit_and_the_passage_takes_the_rest(zoo: Callable[..., Path]) -> None:
    """A peer cuts the longer of the two first, so that a long passage can leave nothing of a query, and back."""
    model = loaded(zoo("bert", CLASSIFIERS["bert"]), query_max_tokens=10, pair={"max_tokens": 24})
    long_query = model.tokenize(["when do cats hunt " * 20], kind="query")[0]
    short_query = model.tokenize(["cats"], kind="query")[0]
    passage = model.tokenize(["the moon pulls the sea " * 30], kind="passage")[0]
    for query in (long_query, short_query):
        ids, second = model.join(query, passage)
        assert len(ids) == 24
        assert ids[1 : 1 + len(query)].tolist() == query.tolist()
        assert ids[second:-1].tolist() == passage[: 24 - 3 - len(query)].tolist()
    assert (len(long_query), len(short_query)) == (10, 1)


def test_the_limit_of_a_pair_must_leave_room(zoo: Callable[..., Path]) -> None:
    folder = zoo("bert", CLASSIFIERS["bert"])
    assert "no room" in refused(folder, pair={"max_tokens": 4})
    assert "too long" in refused(folder, pair={"max_tokens": 4000})
    assert "query_max_tokens" in refused(folder, query_max_tokens=30, pair={"max_tokens": 32})


def test_a_prompt_is_put_together_as_sentence_transformers_does(zoo: Callable[..., Path]) -> None:
    model = loaded(zoo("qwen3", LANGUAGE_MODELS["qwen3"]), **ANSWERS, query_prompt="now ")
    template = model.reading.form.template
    assert template is not None
    model.tokenizer.chat_template = chat_template(template)
    messages = [{"role": "query", "content": "now " + QUERIES[0]}, {"role": "document", "content": PASSAGES[0]}]
    whole = model.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    query, passage = model.tokenize([QUERIES[0]], kind="query")[0], model.tokenize([PASSAGES[0]], kind="passage")[0]
    assert model.join(query, passage)[0].tolist() == whole


def test_a_blank_before_a_text_is_tokenised_with_it(zoo: Callable[..., Path]) -> None:
    tokenizer = loaded(zoo("qwen3", LANGUAGE_MODELS["qwen3"]), **ANSWERS).tokenizer
    with_blank, without = (prompt_format(tokenizer, f"the{gap}{{query}}tide{{passage}}") for gap in (" ", ""))
    assert with_blank.before.tolist() == without.before.tolist()


# Ways of running


@pytest.mark.parametrize("kind", [*CLASSIFIERS, *LANGUAGE_MODELS])
def test_packed_padded_and_whole_give_the_same_scores(zoo: Callable[..., Path], kind: str) -> None:
    """A pair's score depends neither on the pairs beside it nor on padding (peers' differ in the third decimal)."""
    model = any_model(zoo, kind)
    queries, passages = pairs()
    together = model.score_pairs(queries, passages)
    alone = [model.score_pairs([q], [p])[0] for q, p in zip(queries, passages, strict=True)]
    assert np.allclose(together, alone, atol=1e-5)
    if model.packed:
        model.backbone.set_attn_implementation("sdpa")
        model.packed = False
        assert np.allclose(model.score_pairs(queries, passages), together, atol=1e-4)
    if kind not in LANGUAGE_MODELS:
        model.head = None
        assert np.allclose(model.score_pairs(queries, passages), together, atol=1e-4)


def test_most_architectures_run_without_padding(zoo: Callable[..., Path]) -> None:
    packed = {kind: any_model(zoo, kind).packed for kind in (*CLASSIFIERS, *LANGUAGE_MODELS)}
    assert [kind for kind, is_packed in packed.items() if not is_packed] == ["deberta-v2", "mpnet"]


def test_equal_pairs_are_scored_once_and_equal_texts_tokenised_once(zoo: Callable[..., Path]) -> None:
    model = any_model(zoo, "bert")
    queries, passages = pairs(["who pays?"] * 6, ["a cat"] * 3 + ["the moon"] * 3)
    seen: list[int] = []
    model.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    scores = model.score_pairs(queries, passages)
    assert sum(seen) == 2
    assert len(set(scores.tolist())) == 2 and scores[0] == scores[2] and scores[3] == scores[5]


def test_a_querys_own_prompt_replaces_the_models(zoo: Callable[..., Path]) -> None:
    model = loaded(zoo("bert", CLASSIFIERS["bert"]), query_prompt="tides: ")
    asked = [Query("1", "a cat"), Query("2", "a cat", {"prompt": "rent: "}), Query("3", "a cat", {"prompt": "tides: "})]
    first, second, third = model.score_pairs(asked, [Passage("p", "the moon")] * 3).tolist()
    assert first == third != second


def test_a_language_model_reads_two_rows_of_its_output_table(zoo: Callable[..., Path]) -> None:
    """A peer makes logits of the whole vocabulary at every position to read one number."""
    model = any_model(zoo, "qwen3")
    sizes: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_floating_point() and out.ndim:
                sizes.append(out.shape[-1])
            return out

    with Watch():
        model.score_pairs(*pairs())
    vocabulary = model.network.config.vocab_size
    assert vocabulary not in sizes and 2 in sizes


def test_yes_alone_and_yes_minus_no(zoo: Callable[..., Path]) -> None:
    folder = zoo("llama", LANGUAGE_MODELS["llama"])
    both, yes = loaded(folder, **ANSWERS), loaded(folder, pair={"yes_answer": "cat", "no_answer": ""})
    no = loaded(folder, pair={"yes_answer": "tide", "no_answer": ""})
    asked = pairs()
    assert np.allclose(both.score_pairs(*asked), yes.score_pairs(*asked) - no.score_pairs(*asked), atol=1e-5)
    assert "is 3 tokens" in refused(folder, pair={"yes_answer": "yes", "no_answer": ""})


def test_rows_of_a_tied_table_learn_and_an_untied_one_stays(zoo: Callable[..., Path], tmp_path: Path) -> None:
    untied = any_model(zoo, "llama")
    prepare_for_training(untied, ModelRecipe())
    assert not untied.network.get_output_embeddings().weight.requires_grad
    tied_folder = tmp_path / "tied"
    shutil.copytree(zoo("llama", LANGUAGE_MODELS["llama"]), tied_folder)
    config = json.loads((tied_folder / "config.json").read_text())
    (tied_folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    weights = load_file(tied_folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tied_folder / "model.safetensors", metadata={"format": "pt"})
    tied = loaded(tied_folder, **ANSWERS)
    prepare_for_training(tied, ModelRecipe())
    ids = [tied.join(tied.tokenize(["who"], kind="query")[0], tied.tokenize(["moon"], kind="passage")[0])]
    tied(Inputs([i for i, _ in ids], seconds=[s for _, s in ids]).batch([0], device=tied.device)).sum().backward()
    assert tied.reading.answers is not None
    touched = tied.token_embedding.weight.grad
    assert touched is not None
    moved = set(touched.abs().sum(1).nonzero().flatten().tolist())
    assert moved == set(ids[0][0].tolist()) | set(tied.reading.answers.ids)


def test_a_language_model_is_tuned_by_adapters(zoo: Callable[..., Path], tmp_path: Path) -> None:
    recipe = ModelRecipe.model_validate(
        {"name": str(zoo("qwen3", "Qwen3ForCausalLM")), "family": "reranker", "lora": {"rank": 2}, **ANSWERS}
    )
    model = load_model(recipe)
    assert isinstance(model, Reranker)
    before = model.score_pairs(*pairs())
    prepare_for_training(model, recipe)
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    assert model.packed and np.allclose(model.score_pairs(*pairs()), before, atol=1e-5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.02)
    tuned = model.score_pairs(*pairs())
    assert not np.allclose(tuned, before, atol=1e-3)
    save_merged(model, tmp_path / "saved", recipe=recipe)
    assert np.allclose(loaded(tmp_path / "saved").score_pairs(*pairs()), tuned, atol=1e-4)


# Folders


@pytest.mark.parametrize("kind", [*CLASSIFIERS, *LANGUAGE_MODELS])
def test_sentence_transformers_gives_the_saved_models_scores(
    zoo: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    from sentence_transformers import CrossEncoder

    model = any_model(zoo, kind)
    wanted = model.score_pairs(*pairs())
    model.save(tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    assert np.allclose(again.score_pairs(*pairs()), wanted, atol=1e-6)
    assert replace(again.reading, form=model.reading.form) == model.reading
    theirs = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    found = theirs.predict(list(zip(QUERIES, PASSAGES, strict=True)))
    assert np.allclose(model.activated(wanted), found, atol=1e-5)


def test_a_cross_encoder_of_sentence_transformers_is_read(zoo: Callable[..., Path], tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(zoo("bert", CLASSIFIERS["bert"])), device="cpu", activation_fn=torch.nn.Identity())
    wanted = theirs.predict(list(zip(QUERIES, PASSAGES, strict=True)))
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = loaded(tmp_path / "theirs")
    assert ours.reading.activation == "identity"
    # the zoo's classifier has two labels: theirs gives two columns, ours their difference
    assert np.allclose(ours.score_pairs(*pairs()), wanted[:, 1] - wanted[:, 0], atol=1e-5)


def test_a_generative_cross_encoder_of_sentence_transformers_is_read(zoo: Callable[..., Path], tmp_path: Path) -> None:
    """Its prompt is its chat template, its tokens stand in its logit score's file."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    folder = tmp_path / "base"
    shutil.copytree(zoo("llama", LANGUAGE_MODELS["llama"]), folder)
    template = "the {% for m in messages %}{{ m['role'] }}: {{ m['content'] }}, {% endfor %}cat"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    network = Transformer(str(folder), transformer_task="text-generation")
    theirs = CrossEncoder(modules=[network, LogitScore(11, 12)], device="cpu")
    wanted = theirs.predict(list(zip(QUERIES, PASSAGES, strict=True)), activation_fn=torch.nn.Identity())
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = loaded(tmp_path / "theirs")
    assert ours.reading.form.template == "the query: {query}, document: {passage}, cat"
    assert ours.reading.answers == Answers(11, 12)
    assert np.allclose(ours.score_pairs(*pairs()), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        ({}, "sigmoid"),
    ],
)
def test_older_cross_encoders_say_their_activation_elsewhere(
    zoo: Callable[..., Path], tmp_path: Path, config: dict[str, Any], activation: str
) -> None:
    folder = tmp_path / "older"
    shutil.copytree(zoo("bert", CLASSIFIERS["bert"]), folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | config))
    assert loaded(folder).reading.activation == activation


def test_a_bare_encoder_gets_the_same_fresh_head_every_time(zoo: Callable[..., Path], tiny_model: Path) -> None:
    for folder in (zoo("bert"), tiny_model):
        first, second = (loaded(folder).score_pairs(*pairs()) for _ in range(2))
        assert np.array_equal(first, second) and np.ptp(first) > 0
    assert loaded(tiny_model).reading.activation == "sigmoid"


def test_the_activation_is_kept_and_may_be_set(zoo: Callable[..., Path], tmp_path: Path) -> None:
    for activation in ("sigmoid", "identity"):
        loaded(zoo("bert"), pair={"activation": activation}).save(tmp_path / activation)
        assert loaded(tmp_path / activation).reading.activation == activation


def test_what_no_reranker_can_be_made_of_is_refused(zoo: Callable[..., Path], tmp_path: Path) -> None:
    many = tmp_path / "many"
    shutil.copytree(zoo("bert", CLASSIFIERS["bert"]), many)
    config = json.loads((many / "config.json").read_text())
    labels = {"id2label": {str(i): str(i) for i in range(3)}, "label2id": {str(i): i for i in range(3)}}
    (many / "config.json").write_text(json.dumps(config | labels))
    assert "3 labels" in refused(many)
    sparse = tmp_path / "sparse"
    shutil.copytree(zoo("bert"), sparse)
    (sparse / "config_sentence_transformers.json").write_text('{"model_type": "SparseEncoder"}')
    assert "SparseEncoder" in refused(sparse)
    assert "does not exist" in refused(tmp_path / "nothing")
