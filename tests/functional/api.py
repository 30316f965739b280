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
"""What tests of hot attach through the API need."""

import typing as ty

from nova import objects
import webob

from nova_accel.api import app
from nova_accel.api import calls
from nova_accel.api import policy
from nova_accel.api import worker
from nova_accel.core import attachment
from nova_accel import rpc

from tests.functional import moves
from tests.functional import rest

Server = dict[str, ty.Any]


class ApiTestCase(moves.MoveTestCase):
    """One API process; ``process`` makes more of them."""

    def setUp(self) -> None:
        super().setUp()
        policy.reset()
        self.addCleanup(policy.reset)
        self.rest = self.process()

    def process(self) -> rest.Rest:
        """Return a client of one more API process."""
        client = rpc.AccelAPI()
        threads = worker.Worker(client)
        self.addCleanup(threads.close)
        return rest.Rest(app.Application(calls.Service(client, threads)))

    # Words

    def attach(self, server: Server, **more: ty.Any) -> str:
        """Attach and wait; return the id."""
        response = self.rest.attach(server['id'], **more)
        self.assertEqual(202, response.status_int, response.text)
        id_ = ty.cast(str, response.json['accelerator']['id'])
        self.wait_for(server, id_, attachment.ATTACHED)
        return id_

    def detach(self, server: Server, id_: str) -> None:
        """Detach and wait."""
        response = self.rest.detach(server['id'], id_)
        self.assertEqual(202, response.status_int, response.text)
        self.wait_until(lambda: self.status(server, id_) is None)

    def wait_for(self, server: Server, id_: str, status: str) -> Server:
        found: Server = {}

        def has_it() -> bool:
            found.clear()
            found.update(self.shown(server, id_) or {})
            if status != 'error' and found.get('status') == 'error':
                raise self.failureException(f'{found["reason"]}')
            return bool(found.get('status') == status)

        try:
            self.wait_until(has_it)
        except self.failureException as e:
            raise self.failureException(f'{found} is not {status}') from e
        # The worker writes the RequestSpec after the node has answered.
        self.wait_until(lambda: self.is_aligned(server))
        return found

    def shown(self, server: Server, id_: str) -> Server | None:
        response = self.rest.show(server['id'], id_, rest.admin())
        if response.status_int == 404:
            return None
        self.assertEqual(200, response.status_int, response.text)
        return ty.cast(Server, response.json['accelerator'])

    def status(self, server: Server, id_: str) -> str | None:
        found = self.shown(server, id_)
        return None if found is None else found['status']

    # Records

    def instance(self, server: Server) -> objects.Instance:
        return objects.Instance.get_by_uuid(
            self.context,
            server['id'],
            expected_attrs=['flavor', 'system_metadata', 'resources'],
        )

    def spec(self, server: Server) -> objects.RequestSpec:
        return objects.RequestSpec.get_by_instance_uuid(
            self.context, server['id']
        )

    def groups(self, server: Server) -> dict[str, attachment.Group]:
        """What the scheduler would ask for on behalf of attachments."""
        return attachment.groups(self.spec(server).flavor.extra_specs)

    def is_aligned(self, server: Server) -> bool:
        own = self.instance(server).flavor.extra_specs
        return self.groups(server) == attachment.groups(own)

    def refusal(self, response: webob.Response, status: int, code: str) -> str:
        """Check a refusal; return what it tells."""
        self.assertEqual((status, code), rest.code(response), response.text)
        return rest.detail(response)
