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
"""How a command ends, and how it says so."""

import collections.abc
import sys

from nova_accel.cli import survey as surveys
from nova_accel.cli import text

OK = 0
PROBLEM = 1
USAGE = 2


def complain(message: str) -> None:
    """Write a message where messages go: never to standard output."""
    print(f'nova-accel: {text.printable(message)}', file=sys.stderr)


def complain_about(survey: surveys.Survey) -> None:
    """Write what kept the files or the host from being read."""
    for problem in survey.problems:
        print(text.printable(str(problem)), file=sys.stderr)
    if survey.problems:
        number = text.count(len(survey.problems), 'error')
        complain(f'{number} in the whitelist; nova-compute would not start')
    if survey.failure:
        complain(survey.failure)
        if survey.files and not survey.problems:
            complain(f'no error in {", ".join(survey.files)} as such')


def withheld(
    survey: surveys.Survey,
) -> collections.abc.Iterator[str]:
    """Say which devices are withheld, once for each reason."""
    reasons: dict[str, list[str]] = {}
    for entry in survey.offer.withheld:
        reasons.setdefault(entry.reason, []).append(str(entry.device.address))
    for reason, addresses in reasons.items():
        yield f'{text.some(addresses)}: {reason}'
