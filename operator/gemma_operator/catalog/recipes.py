"""Flags of engine starts that are public: what a log table that cites them may leave out."""

from functools import lru_cache
from importlib import resources

import yaml
from pydantic import Field

from gemma_operator.catalog.rows import PositiveCount, Row


class Recipe(Row):
    """Flags that one public place starts one model with."""

    cites: str
    """Text that the `source` of a row from there contains."""
    architecture: str
    tensor_parallel_size: PositiveCount
    max_num_seqs: PositiveCount
    max_num_batched_tokens: PositiveCount | None = None
    """None: the engine's default."""
    gpu_memory_utilization: float = Field(gt=0, le=1)
    images: bool = True
    """Image input was on."""
    drafter: bool = False


@lru_cache(maxsize=1)
def shipped_recipes() -> tuple[Recipe, ...]:
    """The rows of recipes.yaml."""
    text = (resources.files("gemma_operator.catalog") / "recipes.yaml").read_text(encoding="utf-8")
    return tuple(Recipe.model_validate(row) for row in yaml.safe_load(text)["recipes"])


def recipe_for(source: str, architecture: str, tensor_parallel_size: int) -> Recipe | None:
    """The recipe of a row that cites its place; None where the place publishes none for that start."""
    for recipe in shipped_recipes():
        same = (recipe.architecture, recipe.tensor_parallel_size) == (architecture, tensor_parallel_size)
        if same and recipe.cites in source:
            return recipe
    return None
