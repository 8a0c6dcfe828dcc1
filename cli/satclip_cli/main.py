"""The command-line application: its commands and error handling."""

import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from satclip_index.errors import OutputError, SatclipIndexError

from . import build, embed, export, info, join, like, probe, serve, sql, train, unusual, verify
from .output import checked_stdout
from .render import complain

_NEGATIVE_LON = re.compile(r"-[\d.][^,]*,.*")


class _Group(TyperGroup):
    """Prints our own errors as one line and exits with code 1; ``--debug`` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SatclipIndexError as error:
            if ctx.params.get("debug"):
                raise
            complain(str(error))
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("build")(build.build)
app.command("like")(like.like)
app.command("unusual")(unusual.unusual)
app.command("serve")(serve.serve)
app.command("join")(join.join)
app.command("embed")(embed.embed)
app.command("sql")(sql.sql)
app.command("info")(info.info)
app.command("verify")(verify.verify)
app.command("probe")(probe.probe)
app.add_typer(export.app, name="export")
app.add_typer(train.app, name="train")


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"satclip-index {version('satclip-index')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find places on Earth that are similar to an example.

    Build an atlas first: satclip-index build

    Then search it: satclip-index like Nairobi
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a place such as -70.5,-33.4 is not read as an option."""
    raw = sys.argv[1:] if arguments is None else arguments
    args = [f" {argument}" if _NEGATIVE_LON.fullmatch(argument) else argument for argument in raw]
    try:
        with checked_stdout():
            app(args=args, prog_name="satclip-index")
    except BrokenPipeError:
        sys.exit(1)
    except OutputError as error:
        if "--debug" in raw:
            raise
        complain(str(error))
        sys.exit(1)
