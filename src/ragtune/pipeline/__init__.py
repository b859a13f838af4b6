"""Running a recipe: data, training and proof, each stage in its own folder."""

from ragtune.pipeline.running import RunResult, run_recipe

__all__ = ["RunResult", "run_recipe"]
