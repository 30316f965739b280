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
"""``nova-accel status upgrade check``: is all as this version needs it?"""

import argparse
import warnings

from nova_accel.cli import novaconf
from nova_accel.cli import options
from nova_accel.cli import outcome

NAME = 'status'
HELP = 'tell whether a host and its nova are ready for this version'
DESCRIPTION = """\
Look at nova, its configuration, the whitelist and libvirt, and say whether
this version of nova_accel can run with them. Reads only. What concerns the
schedulers or the database is checked where their configuration is.
"""
EPILOG = """\
examples:
  nova-accel status upgrade check
  nova-accel status upgrade check --json

exit codes, as in all upgrade checks of OpenStack:
  0    ready
  1    a warning: look at it, the service would start
  2    a failure: nova-compute would not start, or not work
  255  an unexpected error
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('what', choices=('upgrade',), help='what it is about')
    parser.add_argument('do', choices=('check',), help='what to do')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table'
    )
    options.add_nova_conf(parser, options.NOVA_CONF)
    options.add_host(parser)


def run(args: argparse.Namespace) -> int:
    """Check; the exit code is that of oslo.upgradecheck."""
    from oslo_upgradecheck import upgradecheck

    # Of nova's imports, on a terminal.
    warnings.simplefilter('ignore')
    from nova_accel.cli import readiness

    try:
        conf = novaconf.read(args.nova_conf)
    except novaconf.Unreadable as error:
        outcome.complain(str(error))
        return int(upgradecheck.Code.FAILURE)
    return upgradecheck.main(
        readiness.configuration(),
        'nova',
        readiness.Checks(args, conf),
        ['upgrade', 'check', *(['--json'] if args.json else [])],
        list(conf.files),
    )
