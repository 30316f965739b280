# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The figures as a table."""

import collections.abc
import math

from rich import box
from rich import console
from rich import markup
from rich import table

from tests.benchmarks import targets

_NOTE = """\
Both sides were measured in this run, in turns, on the same node file; A x B x
C are cards, virtual functions a card, and types. RPC: what a remote libvirt
connection sends during the whole operation, by nova's own code too; that for
guests and for the host itself, which accelerators do not change, stands
apart. ms: CPU time for accelerators, the least of several runs; of attach-time
it is what a clock shows, and stock is libvirt's call alone.
"""


def show(
    rows: collections.abc.Iterable[targets.Row], out: console.Console
) -> None:
    """Print all figures, those without a target below the others."""
    rows = list(rows)
    out.print()
    out.print(_table([r for r in rows if r.target], 'Targets'))
    out.print(
        _table([r for r in rows if not r.target], 'What else was measured')
    )
    out.print(_NOTE)


def _table(
    rows: collections.abc.Iterable[targets.Row], title: str
) -> table.Table:
    found = table.Table(title=title, title_justify='left', box=box.SIMPLE_HEAD)
    for head in ('name', 'workload'):
        found.add_column(head, overflow='fold')
    for head in ('ours', 'stock', 'ratio'):
        found.add_column(head, justify='right', no_wrap=True)
    for head in ('target', 'met'):
        found.add_column(head, no_wrap=True)
    for row in rows:
        found.add_row(
            row.name,
            _workload(row),
            *_figures(row),
            row.target.text if row.target else '',
            _met(row),
        )
    return found


def _workload(row: targets.Row) -> str:
    if row.lacking:
        reason = markup.escape(row.lacking.splitlines()[0])
        return f'{row.workload}: [bold red]NOT MEASURED[/], {reason}'
    return row.workload


def _figures(row: targets.Row) -> tuple[str, str, str]:
    if row.lacking:
        return '', '', ''
    return (
        _figure(row.ours, row.unit),
        _figure(row.stock, row.unit),
        _ratio(row),
    )


def _figure(number: float, unit: str) -> str:
    return f'{number:,} {unit}'.strip()


def _ratio(row: targets.Row) -> str:
    if row.unit == 'exponent':
        return ''
    if math.isinf(row.ratio):
        return '∞'
    return f'{row.ratio:,.{0 if row.ratio >= 10 else 1}f}'


def _met(row: targets.Row) -> str:
    if row.target is None:
        return ''
    if row.lacking:
        return '[bold red]?[/]'
    return '[green]yes[/]' if row.met else '[bold red]NO[/]'
