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
"""``openstack server add|remove accelerator``, ``server accelerator ...``."""

import argparse
import re
import sys
import typing as ty
import uuid

from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from nova_accel.cli.osc import client
from nova_accel.cli.osc import waiting

_RESOURCE = re.compile(r'([A-Z0-9_]{1,255})(?:=([1-9][0-9]{0,3}))?')
_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')

_COLUMNS = {
    'id': 'ID',
    'resource_class': 'Resource Class',
    'amount': 'Amount',
    'status': 'Status',
    'source': 'Source',
}
_LONG = {
    'reason': 'Reason',
    'created_at': 'Created At',
    'updated_at': 'Updated At',
}
# In the answer for administrators only.
_HOST = {
    'host': 'Host',
    'resource_provider_ids': 'Resource Providers',
    'units': 'Units',
}

Row = tuple[ty.Any, ...]


class _Command(command.Command):
    """What the commands have in common."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = self.EPILOG
        parser.add_argument(
            'server', metavar='<server>', help='Server (name or ID)'
        )
        return parser

    EPILOG: ty.ClassVar[str] = ''

    @property
    def api(self) -> client.Client:
        return ty.cast(client.Client, self._clients.accelerator_hotplug)

    @property
    def _clients(self) -> ty.Any:
        # It has one attribute for each plugin.
        return self.app.client_manager

    def server_id(self, server: str) -> str:
        """Return the id of a server that is given by id or by name."""
        if _UUID.fullmatch(server):
            return server
        found = self._clients.compute.find_server(server, ignore_missing=True)
        if found is None:
            raise osc_exceptions.CommandError(
                f'No server has the name or ID {server}; openstack server '
                'list shows yours'
            )
        return ty.cast(str, found.id)

    def waiter(self, args: argparse.Namespace) -> waiting.Waiter:
        return waiting.Waiter(self.api, _say, args.timeout)


def _say(line: str) -> None:
    # Not where the table goes.
    print(line, file=sys.stderr, flush=True)


def _add_wait(parser: argparse.ArgumentParser, end: str) -> None:
    parser.add_argument(
        '--wait',
        action='store_true',
        help=f'Wait until {end}, and tell on stderr what goes on',
    )
    parser.add_argument(
        '--timeout',
        metavar='<seconds>',
        type=_seconds,
        help='With --wait: give up waiting after that time; what was asked '
        'for goes on',
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f'{text} is no number of seconds')
    return seconds


def _add_accelerator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'accelerator',
        metavar='<accelerator>',
        help='ID of the accelerator (see: openstack server accelerator '
        'list <server>)',
    )


def _resource(text: str) -> tuple[str, int]:
    match = _RESOURCE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f'{text} is no resource; write a resource class, and an amount '
            'if it is not 1, like CUSTOM_T4_8Q=2'
        )
    return match[1], int(match[2] or 1)


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is no uuid') from None


class AddAccelerator(_Command, command.ShowOne):
    """Attach an accelerator to a server that exists.

    A running server gets it at once, a stopped one at its next start.

    The flavor of the server says what may be attached, in extra specs
    like accel_hotplug:max_CUSTOM_T4_8Q=2, and the device has to be free on
    the host where the server is. If it is not, the error says so and
    nothing has changed.
    """

    EPILOG = """\
examples:
  openstack server add accelerator web1 --resource CUSTOM_T4_8Q --wait
  openstack server add accelerator web1 --resource VGPU=2 -f json

  In a script, choose the id: the same command again then does nothing twice.
  ID=$(uuidgen)
  openstack server add accelerator web1 --resource VGPU --id $ID
"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--resource',
            metavar='<class>[=<amount>]',
            type=_resource,
            required=True,
            help='Resource class of the accelerator, and how many units of '
            'it if more than 1; all of them come from one device or pool '
            '(see the extra specs of the flavor: accel_hotplug:max_<class>)',
        )
        parser.add_argument(
            '--id',
            metavar='<uuid>',
            type=_id,
            help='ID of the accelerator. Sent again with the same ID, the '
            'command does nothing twice (default: a new one)',
        )
        _add_wait(parser, 'it is attached')
        return parser

    def take_action(self, args: argparse.Namespace) -> tuple[Row, Row]:
        server = self.server_id(args.server)
        resource_class, amount = args.resource
        found = self.api.attach(
            server, args.id or str(uuid.uuid4()), resource_class, amount
        )
        if args.wait:
            found = self.waiter(args).attached(server, found)
        return _details(found)


class RemoveAccelerator(_Command):
    """Detach an accelerator from a server.

    The guest is asked to let go of the device. Until it has, the
    accelerator stays, as "detaching", and nobody else gets the device: see
    to it that nothing in the guest uses it.

    Accelerators that the flavor brought cannot be detached; resize the
    server instead.
    """

    EPILOG = """\
examples:
  openstack server remove accelerator web1 <id> --wait
  openstack server remove accelerator web1 <id> --force
      for administrators, and for a guest that does not answer: takes the
      device without its consent, which may crash it or reboot it
  openstack server remove accelerator web1 <id> --cancel
      for administrators: the guest keeps the device after all
"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_accelerator(parser)
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            '--force',
            action='store_true',
            help='Do not wait for the consent of the guest, which may crash '
            'or reboot it (admin only)',
        )
        how.add_argument(
            '--cancel',
            action='store_true',
            help='Give up a detach that the guest does not answer (admin '
            'only)',
        )
        _add_wait(parser, 'the guest has let go of it')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        server = self.server_id(args.server)
        id_ = args.accelerator
        if args.cancel:
            self.api.cancel_detach(server, id_)
            return
        before = self.api.show(server, id_) if args.wait else None
        detach = self.api.force_detach if args.force else self.api.detach
        detach(server, id_)
        if before is not None:
            now = {**before, 'status': 'detaching', 'reason': None}
            self.waiter(args).detached(server, now)


class ListAccelerator(_Command, command.Lister):
    """List the accelerators of a server and where each came from.

    Source is "flavor" for those that the flavor brought and "attached" for
    those that were attached to the server while it existed.
    """

    EPILOG = """\
examples:
  openstack server accelerator list web1
  openstack server accelerator list web1 --long
  openstack server accelerator list web1 -f json
"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--long',
            action='store_true',
            help='Show reasons and times, too, and for administrators the '
            'host and its devices',
        )
        return parser

    def take_action(
        self, args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[Row]]:
        found = self.api.list(self.server_id(args.server))
        columns = _COLUMNS
        if args.long:
            columns = _COLUMNS | _LONG
            if any('host_details' in each for each in found):
                columns |= _HOST
        rows = [_flat(each) for each in found]
        return tuple(columns.values()), [
            tuple(row.get(name) for name in columns) for row in rows
        ]


class ShowAccelerator(_Command, command.ShowOne):
    """Show an accelerator of a server.

    Of one in status "error" the reason says why; remove it, or add it again
    with the same ID to try anew.
    """

    EPILOG = """\
examples:
  openstack server accelerator show web1 <id>
  openstack server accelerator show web1 <id> -f value -c status
"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_accelerator(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> tuple[Row, Row]:
        server = self.server_id(args.server)
        return _details(self.api.show(server, args.accelerator))


def _details(found: client.Accelerator) -> tuple[Row, Row]:
    row = sorted(_flat(found).items())
    return tuple(name for name, _ in row), tuple(value for _, value in row)


def _flat(found: client.Accelerator) -> dict[str, ty.Any]:
    """Put what is told about the host beside the rest."""
    row = {k: v for k, v in found.items() if k != 'host_details'}
    details = dict(found.get('host_details', {}))
    for name in ('resource_provider_ids', 'units'):
        if name in details:
            details[name] = ', '.join(details[name])
    return row | details
