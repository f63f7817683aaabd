"""Help of commands that takes more than a docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

MAP_HELP = """Call a function for each row of a table, on workers, and write the results in the order of the rows.

TARGET is path/to/file.py::function or package.module::function; INPUTS and OUTPUTS are JSONL, CSV, TSV or Parquet by
their endings, - is standard input or output (JSONL).

[bold]Rows in[/] A JSON object becomes keyword arguments, a list positional ones, anything else the only argument.
Columns of CSV and Parquet become keyword arguments; those that the function has no parameter for are left out. CSV
cells are read as the annotations say (int, float, bool, Decimal, date, datetime, time, Optional of these; an empty cell
is None, or the parameter's default), and stay text without one.

[bold]Rows out[/] JSONL: {"input": row, "result": value}. CSV and Parquet: the input's columns, then result, or one
column for each key of a dict (result.KEY where the input has that column). Numbers, text, lists, dicts, dates,
dataclasses, models, arrays and data frames can be written; NaN becomes null but in Parquet.

[bold]Failures[/] Rows that fail are left out of OUTPUTS and go to OUTPUTS.failures.jsonl (row, input, error,
traceback). Exit code: 0 all succeeded, 1 some rows failed, 2 nothing was done, 130 interrupted. OUTPUTS appears when it
is complete.

[bold]Examples[/]

  bursty map app.py::simulate inputs.csv -o prices.csv

  bursty map app.py::score rows.parquet -o scores.parquet --timeout "30 s" --retries 2 --resume scoring

  seq 1000 | bursty map app.py::simulate - -o - | jq .result
"""
APP_HELP = """Python functions over many inputs, on workers that come out of thin air and vanish.

[bold]Examples[/]

  bursty demo                                              a forecast on real sales

  bursty init prices                                       a small project to start from

  bursty map app.py::simulate inputs.csv -o prices.csv     a call for each row of a table

  bursty run app.py::forecast --growth 0.07                a run of a job: log, outputs, version

  bursty runs list                                         what became of runs

  bursty prune --older-than "7 days"                       make room
"""
PRUNE_HELP = """Make room: remove what bursty keeps and nobody needs any more.

[bold]Made again when needed[/] and removed when nobody used it for --older-than: what run.cache keeps, spilled values,
results kept for --resume, restored versions, Envs; and cached answers whose time is over.

[bold]Gone for good[/] when older than --runs-older-than: runs that are over, with their logs and outputs, and uploads
that no run needs; with --versions also versions that no run needs. These stay however old they are: a job's newest good
run, the newest good one that has an output of each name, what is published, the current version and the one before it,
and models. Predictions, with their inputs and labels, go when they are older than their endpoint's Log(keep=…) says
(90 days); --inputs-older-than lets go of what was asked before that.

[bold]Examples[/]

  bursty prune --dry-run

  bursty prune --runs-older-than "30 days" --versions
"""
RUN_HELP = """Make a run of a job, and look on: its log, how far it is, what it gave.

FILE::JOB is the job as the file is now: a version of its app is recorded first (the same content is the same version).
JOB alone is the job of the app's current version, or of --version.

[bold]Inputs[/] The job's own inputs are options, too; bursty run FILE::JOB --help shows them with types, bounds and
defaults. --name VALUE; --name and --no-name for yes and no; again for each item of a list; the path of a file, or of a
CSV file for a table; --unset NAME for no value. --set NAME=VALUE does for all of them, and for those that are called
like an option below. All that is wrong is told at once, before anything is queued.

[bold]Where[/] In this process, whether or not other workers are there; --detach leaves it to them. What the job
prints goes to stdout and stderr, all else to stderr. Ctrl-C cancels the run, a second one kills it.

[bold]Exit code[/] 0 it succeeded (with --detach: it is queued), 1 it failed, timed out or was lost, 2 nothing was
queued, 3 it was cancelled, 130 Ctrl-C.

[bold]Examples[/]

  bursty run app.py::forecast --help

  bursty run app.py::forecast --growth 0.07 --history sales.csv

  bursty run forecast --version 3 --json | jq .metrics

  bursty run app.py::plan --detach && bursty worker
"""


def flowing(text: str) -> str:
    """Paragraphs in one line each: the terminal's width breaks them."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def help_of(function: Callable[..., object]) -> str:
    """A command's docstring, as its help."""
    return flowing(inspect.cleandoc(function.__doc__ or ""))
