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
"""``tox -e bench [-- --json FILE --xapi]``: ours beside stock, as ratios.

Exits 0 if every target is met, 1 if one is not, 2 on wrong usage.
"""

import argparse
import json
import logging
import pathlib
import sys
import unittest
import warnings

from tests.benchmarks import workloads

from rich import console

from tests.benchmarks import report
from tests.benchmarks import targets
from tests.benchmarks import xapi


def main() -> int:
    parser = argparse.ArgumentParser('tox -e bench --')
    parser.add_argument(
        '--json',
        type=pathlib.Path,
        metavar='FILE',
        help='write {name: {ours, stock, target, met}} there',
    )
    parser.add_argument(
        '--xapi', action='store_true', help='only the rows of the XAPI driver'
    )
    options = parser.parse_args()
    rows = _measured(options.xapi)
    report.show(rows, console.Console())
    if options.json:
        text = json.dumps(targets.document(rows), indent=2)
        options.json.write_text(f'{text}\n')
    return 0 if all(row.met for row in rows) else 1


def _measured(xapi_only: bool) -> list[targets.Row]:
    warnings.simplefilter('ignore')
    # Nova would spend more on its log than on what is measured.
    logging.disable(logging.WARNING)
    if xapi_only:
        return xapi.rows()
    bench = workloads.Benchmark('measure')
    outcome = unittest.TestResult()
    bench.run(outcome)
    for _case, trace in outcome.errors + outcome.failures:
        sys.exit(f'The benchmark did not run to its end.\n{trace}')
    return [*bench.rows, *xapi.rows()]


if __name__ == '__main__':
    sys.exit(main())
