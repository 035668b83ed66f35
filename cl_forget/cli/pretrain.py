"""`cl-forget pretrain`: the recipes of the embedded models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cl_forget.cli.shared import Log, Overwrite
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.progress import begin


def pretrain(
    model: Annotated[
        str, typer.Argument(help="The model to make again: emoji-clip, emoji-clip-rn or pico-lm.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the model and its checkpoints.")] = Path("build"),
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data [default: the recipe's].", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of initial weights and data order.", min=0)] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads [default: all].", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch in --output.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A variant of under a minute, to see it work.")
    ] = False,
    sam: Annotated[
        float, typer.Option(help="Radius ρ of SAM, such as 0.05; a step takes twice the time.", min=0.0)
    ] = 0.0,
    sam_share: Annotated[
        float, typer.Option(help="Share of the epochs, the last ones, with SAM.", min=0.0, max=1.0)
    ] = 1.0,
    overwrite: Overwrite = False,
    log: Log = "text",
) -> None:
    """Pre-train an embedded model from its recipe."""
    from cl_forget.ground.outputs import make_way
    from cl_forget.models import RECIPES

    recipe = RECIPES.get(model)
    if not resume:
        make_way(
            output / model, ("recipe.json", "checkpoint.safetensors", "log.jsonl"), overwrite, delete=True
        )
    quiet_libraries()
    with begin(f"pre-training {model} into {output / model}"):
        recipe(
            output / model,
            epochs=epochs,
            seed=seed,
            threads=threads,
            resume=resume,
            quick=quick,
            sam=sam,
            sam_share=sam_share,
        )
