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
"""The commands, over HTTP to a service that the test plays."""

import io
import json
import types
import typing as ty

from cliff import app
from cliff import commandmanager
import ddt
import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from osc_lib import exceptions as osc_exceptions
import requests_mock
import testtools

from nova_accel.cli.osc import accelerator
from nova_accel.cli.osc import client
from nova_accel.cli.osc import waiting

URL = 'http://api.example:8790'
SERVER = '6a1c0d3e-8f14-4f0a-9f0b-2f6d7f3b1c55'
ID = '0c7c1a52-6a0e-4dd8-a7f5-3c1d5a3f9f10'
PLACE = f'{URL}/v1/servers/{SERVER}/accelerators'


def view(status: str, **more: ty.Any) -> dict[str, ty.Any]:
    found: dict[str, ty.Any] = {
        'id': ID,
        'server_id': SERVER,
        'source': 'attached',
        'resource_class': 'VGPU',
        'amount': 2,
        'status': status,
        'reason': None,
        'request_id': 'req-1',
        'created_at': '2026-11-21T10:00:00+00:00',
        'updated_at': '2026-11-21T10:00:00+00:00',
    }
    return found | more


def one(status: str, **more: ty.Any) -> dict[str, ty.Any]:
    return {'accelerator': view(status, **more)}


def error(status: int, detail: str) -> dict[str, ty.Any]:
    return {
        'status_code': status,
        'json': {'errors': [{'title': 'No', 'detail': detail}]},
        'headers': {
            'Content-Type': 'application/json',
            'X-Openstack-Request-Id': 'req-9',
        },
    }


class Compute:
    """Of OpenStackClient: knows one name."""

    def find_server(self, name: str, ignore_missing: bool = True) -> ty.Any:
        if name == 'web1':
            return types.SimpleNamespace(id=SERVER)
        return None


class CommandCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.http = requests_mock.Mocker()
        self.http.start()
        self.addCleanup(self.http.stop)
        self.stdout = io.StringIO()
        self.stderr = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', self.stderr))
        self.pauses: list[float] = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova_accel.cli.osc.accelerator.waiting.Waiter', self._waiter
            )
        )

    def _waiter(self, *args: ty.Any) -> waiting.Waiter:
        # Time goes by without any of it.
        return _Waiter(
            *args, sleep=self.pauses.append, clock=lambda: sum(self.pauses)
        )

    def client(self) -> client.Client:
        return client.Client(
            adapter.Adapter(
                session.Session(auth=token_endpoint.Token(URL, 'token')),
                service_type=client.SERVICE_TYPE,
                default_microversion='1.0',
            )
        )

    def command(self, kind: ty.Any) -> ty.Any:
        stand_in = app.App(
            'test',
            '1',
            commandmanager.CommandManager('nova_accel.none'),
            stdout=self.stdout,
        )
        stand_in.client_manager = types.SimpleNamespace(
            compute=Compute(), accelerator_hotplug=self.client()
        )
        return kind(stand_in, None)

    def run_command(self, kind: ty.Any, *argv: str) -> int:
        command = self.command(kind)
        args = command.get_parser('openstack').parse_args(argv)
        return int(command.run(args) or 0)

    def refused(self, kind: ty.Any, *argv: str) -> str:
        """Run a command that fails; return what it tells."""
        return str(
            self.assertRaises(
                osc_exceptions.CommandError, self.run_command, kind, *argv
            )
        )

    def sent(self) -> list[tuple[str, str]]:
        return [
            (request.method, request.path.removeprefix('/v1/servers/'))
            for request in self.http.request_history
        ]


# Before any test has put its own there.
_Waiter = waiting.Waiter


@ddt.ddt
class AddTest(CommandCase):
    def test_add_by_name(self) -> None:
        self.http.post(PLACE, json=one('attaching'), status_code=202)
        self.run_command(
            accelerator.AddAccelerator,
            'web1',
            '--resource=VGPU=2',
            '-f=json',
        )
        shown = json.loads(self.stdout.getvalue())
        self.assertEqual('attaching', shown['status'])
        (request,) = self.http.request_history
        asked = request.json()['accelerator']
        self.assertEqual(2, asked['amount'])
        self.assertEqual('VGPU', asked['resource_class'])
        self.assertEqual(36, len(asked['id']))
        self.assertEqual(
            'accelerator-hotplug 1.0',
            request.headers['OpenStack-API-Version'],
        )

    def test_the_id_is_the_callers(self) -> None:
        self.http.post(PLACE, json=one('attached'), status_code=202)
        for _ in range(2):
            self.run_command(
                accelerator.AddAccelerator,
                SERVER,
                '--resource=VGPU',
                f'--id={ID.upper()}',
            )
        bodies = [r.json()['accelerator'] for r in self.http.request_history]
        expected = {'resource_class': 'VGPU', 'amount': 1, 'id': ID}
        self.assertEqual([expected, expected], bodies)

    def test_wait_tells_each_change_once(self) -> None:
        self.http.post(PLACE, json=one('attaching'), status_code=202)
        self.http.get(
            f'{PLACE}/{ID}',
            [
                {'json': one('attaching')},
                {'json': one('attaching')},
                {'json': one('attached')},
            ],
        )
        self.run_command(
            accelerator.AddAccelerator,
            SERVER,
            '--resource=VGPU=2',
            '--wait',
            '-f=value',
            '-c=status',
        )
        self.assertEqual('attached\n', self.stdout.getvalue())
        self.assertEqual(
            ['attaching', 'attached (4 s)'],
            self.stderr.getvalue().splitlines(),
        )

    def test_wait_ends_with_the_reason_of_an_error(self) -> None:
        self.http.post(PLACE, json=one('attaching'), status_code=202)
        self.http.get(
            f'{PLACE}/{ID}', json=one('error', reason='no slot in the guest')
        )
        caught = self.refused(
            accelerator.AddAccelerator,
            SERVER,
            '--resource=VGPU=2',
            '--wait',
        )
        self.assertIn('no slot in the guest', caught)

    def test_wait_gives_up_after_the_timeout(self) -> None:
        self.http.post(PLACE, json=one('attaching'), status_code=202)
        self.http.get(f'{PLACE}/{ID}', json=one('attaching'))
        caught = self.refused(
            accelerator.AddAccelerator,
            SERVER,
            '--resource=VGPU=2',
            '--wait',
            '--timeout=10',
        )
        self.assertIn('still attaching after 12 s', caught)
        self.assertIn('server accelerator show', caught)

    def test_a_refusal_is_told_in_the_words_of_the_service(self) -> None:
        self.http.post(PLACE, **error(403, 'The flavor does not permit it.'))
        caught = self.refused(
            accelerator.AddAccelerator,
            SERVER,
            '--resource=VGPU',
        )
        self.assertEqual('The flavor does not permit it. (HTTP 403)', caught)

    def test_a_fault_of_the_service_names_the_request(self) -> None:
        self.http.post(PLACE, **error(500, 'Unexpected.'))
        caught = self.refused(
            accelerator.AddAccelerator,
            SERVER,
            '--resource=VGPU',
        )
        self.assertEqual('Unexpected. (HTTP 500, req-9)', caught)

    def test_no_such_name(self) -> None:
        caught = self.refused(
            accelerator.AddAccelerator,
            'web2',
            '--resource=VGPU',
        )
        self.assertIn('web2', caught)
        self.assertEqual([], self.sent())

    @ddt.data(
        ('--resource=vgpu',),
        ('--resource=VGPU=0',),
        ('--resource=VGPU=x',),
        ('--resource=VGPU', '--id=x'),
        ('--resource=VGPU', '--timeout=-1'),
        ('--resource=VGPU', '--timeout=nan'),
        (),
    )
    def test_wrong_usage_is_explained(self, argv: tuple[str, ...]) -> None:
        self.assertRaises(
            SystemExit,
            self.run_command,
            accelerator.AddAccelerator,
            SERVER,
            *argv,
        )
        self.assertEqual([], self.sent())
        self.assertNotIn('Traceback', self.stderr.getvalue())
        self.assertIn('error: ', self.stderr.getvalue())


class RemoveTest(CommandCase):
    def test_remove(self) -> None:
        self.http.delete(f'{PLACE}/{ID}', status_code=202)
        self.run_command(accelerator.RemoveAccelerator, SERVER, ID)
        self.assertEqual(
            [('DELETE', f'{SERVER}/accelerators/{ID}')], self.sent()
        )

    def test_wait_tells_what_the_guest_does(self) -> None:
        waits = 'the guest has not let go yet'
        self.http.delete(f'{PLACE}/{ID}', status_code=202)
        self.http.get(
            f'{PLACE}/{ID}',
            [
                {'json': one('attached')},
                {'json': one('detaching', reason=waits)},
                error(404, 'Gone.'),
            ],
        )
        self.run_command(accelerator.RemoveAccelerator, SERVER, ID, '--wait')
        self.assertEqual(
            ['detaching', f'detaching: {waits} (0 s)', 'detached'],
            self.stderr.getvalue().splitlines(),
        )

    def test_wait_ends_when_an_administrator_cancels(self) -> None:
        self.http.delete(f'{PLACE}/{ID}', status_code=202)
        self.http.get(f'{PLACE}/{ID}', json=one('attached'))
        caught = self.refused(
            accelerator.RemoveAccelerator,
            SERVER,
            ID,
            '--wait',
        )
        self.assertIn('is attached again: it was cancelled', caught)

    def test_force_and_cancel(self) -> None:
        action = f'{PLACE}/{ID}/action'
        self.http.post(action, json=one('detaching'), status_code=202)
        for option in ('--force', '--cancel'):
            self.run_command(accelerator.RemoveAccelerator, SERVER, ID, option)
        self.assertEqual(
            [{'force_detach': None}, {'cancel_detach': None}],
            [request.json() for request in self.http.request_history],
        )

    def test_what_is_gone_is_told(self) -> None:
        self.http.delete(f'{PLACE}/{ID}', **error(404, 'No such thing.'))
        caught = self.assertRaises(
            osc_exceptions.NotFound,
            self.run_command,
            accelerator.RemoveAccelerator,
            SERVER,
            ID,
        )
        self.assertIn('No such thing.', str(caught))


class ListTest(CommandCase):
    def test_where_each_came_from(self) -> None:
        flavor = view('attached', source='flavor', amount=1)
        self.http.get(PLACE, json={'accelerators': [flavor, view('error')]})
        self.run_command(
            accelerator.ListAccelerator, SERVER, '-f=value', '-c=Source'
        )
        self.assertEqual('flavor\nattached\n', self.stdout.getvalue())

    def test_table(self) -> None:
        self.http.get(PLACE, json={'accelerators': [view('attached')]})
        self.run_command(accelerator.ListAccelerator, SERVER)
        table = self.stdout.getvalue()
        for word in ('ID', 'Resource Class', 'Amount', 'Status', 'Source'):
            self.assertIn(word, table)
        self.assertNotIn('Reason', table)

    def test_long_shows_the_host_where_it_is_told(self) -> None:
        host = {
            'host': 'host1',
            'resource_provider_ids': ['p1'],
            'units': ['a', 'b'],
        }
        mine, others = view('attached'), view('attached', host_details=host)
        for views, columns in ((mine, False), (others, True)):
            self.http.get(PLACE, json={'accelerators': [views]})
            self.stdout.truncate(0)
            self.stdout.seek(0)
            self.run_command(
                accelerator.ListAccelerator, SERVER, '--long', '-f=json'
            )
            (row,) = json.loads(self.stdout.getvalue())
            self.assertIn('Reason', row)
            self.assertEqual(columns, 'Units' in row)
        self.assertEqual('a, b', row['Units'])


class ShowTest(CommandCase):
    def test_show(self) -> None:
        self.http.get(f'{PLACE}/{ID}', json=one('error', reason='why'))
        self.run_command(
            accelerator.ShowAccelerator, SERVER, ID, '-f=value', '-c=reason'
        )
        self.assertEqual('why\n', self.stdout.getvalue())


class HelpTest(CommandCase):
    def test_every_command_teaches(self) -> None:
        for kind in (
            accelerator.AddAccelerator,
            accelerator.RemoveAccelerator,
            accelerator.ListAccelerator,
            accelerator.ShowAccelerator,
        ):
            parser = self.command(kind).get_parser('openstack')
            text = parser.format_help()
            self.assertIn('examples:', text)
            self.assertIn('<server>', text)
