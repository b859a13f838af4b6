"""The typer application; each command's work lives in a file of its own and is imported when it is called."""

from __future__ import annotations

import typer

from ragtune.cli import data_commands, document_commands, mining_commands, model_commands, synthesis_commands

app = typer.Typer(
    name="ragtune",
    help="Fine-tune the models of a RAG stack on your own documents and prove the gain on unseen questions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Every command takes --debug, which shows the traceback of an error.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from ragtune import __version__

        typer.echo(f"ragtune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Fine-tune the models of a RAG stack on your own documents and prove the gain on unseen questions."""


for topic in (model_commands, data_commands, mining_commands, document_commands, synthesis_commands):
    for name, function in topic.COMMANDS.items():
        app.command(name=name)(function)
