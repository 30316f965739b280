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
"""``nova-accel check``: what a whitelist means on a host."""

import argparse
import sys

from nova_accel.cli import flavors
from nova_accel.cli import look
from nova_accel.cli import options
from nova_accel.cli import outcome
from nova_accel.cli import survey as surveys
from nova_accel.cli import text

NAME = 'check'
HELP = 'show what a whitelist offers on a host, and what is wrong with it'
DESCRIPTION = """\
Read the whitelist as nova-compute would, look at the host, and show which
device matches which rule, the resource providers, inventories and traits
that would be reported to Placement, and the flavors that ask for them. The
amounts are those of an empty host.
"""
EPILOG = """\
examples:
  nova-accel check                               this host, installed files
  nova-accel check --config new.yaml             try a file before it goes live
  nova-accel check --connect qemu+ssh://host1.example/system
  nova-accel check --strict -f json              in a pipeline

exit codes:
  0  clean
  1  an error in a file, a device that is withheld, or a host that cannot be
     reached; with --strict also a rule that matches nothing
  2  wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--strict',
        action='store_true',
        help='fail on a rule that matches nothing on this host, too',
    )
    parser.add_argument(
        '-f',
        '--format',
        choices=('tree', 'table', 'json'),
        default='tree',
        help='how to print (default: %(default)s)',
    )
    options.add_whitelist(parser)
    options.add_host(parser)


def run(args: argparse.Namespace) -> int:
    """Check; 1 if anything is not well."""
    survey = look.look(args)
    outcome.complain_about(survey)
    ok = _is_clean(survey, args.strict)
    if args.format == 'json':
        _print_json(survey, ok)
        _complain(survey, args.strict, everything=True)
    elif not survey.problems and not survey.failure:
        _print(survey, args.format)
        _complain(survey, args.strict, everything=False)
    return outcome.OK if ok else outcome.PROBLEM


def _is_clean(survey: surveys.Survey, strict: bool) -> bool:
    return not (
        survey.problems
        or survey.failure
        or survey.offer.withheld
        or (strict and survey.idle)
    )


def _complain(survey: surveys.Survey, strict: bool, everything: bool) -> None:
    """Say on standard error why the exit code is 1.

    :param everything: standard output did not tell a person.
    """
    withheld = survey.offer.withheld
    if withheld and everything:
        for line in outcome.withheld(survey):
            outcome.complain(f'withheld: {line}')
    elif withheld:
        outcome.complain(f'{text.count(len(withheld), "device")} withheld')
    if strict and not survey.problems:
        for rule in survey.offer.idle_rules:
            outcome.complain(
                f'{rule.place}: rule {rule.name!r} matches nothing here'
            )
        if not survey.files:
            outcome.complain('there is no whitelist')


def _print_json(survey: surveys.Survey, ok: bool) -> None:
    from nova_accel.cli import document

    found = document.header(survey, ok)
    found['rules'] = document.rules(survey)
    found['devices'] = document.devices(survey, survey.view.devices)
    found['providers'] = document.providers(survey)
    found['withheld'] = document.withheld(survey)
    found['flavors'] = [
        document.flavor(each) for each in flavors.of(survey.offer)
    ]
    found['capabilities'] = document.capabilities(survey)
    document.dump(found)


def _print(survey: surveys.Survey, form: str) -> None:
    from nova_accel.cli import render
    from nova_accel.cli import report

    report.show(render.Screen(sys.stdout), survey, form)
