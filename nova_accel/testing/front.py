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
"""The accelerators API over a real socket, in this process.

There is no Keystone: whoever asks is one member of one project.
"""

import typing as ty

import fixtures
from nova import context as nova_context

from nova_accel.api import app
from nova_accel.api import calls
from nova_accel.api import server
from nova_accel.api import worker
from nova_accel import rpc
from nova_accel.testing import serving


class Front(fixtures.Fixture):
    """One API process of its own.

    :param project: the project of whoever asks.
    :ivar url: where it is.
    """

    url: str

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def _setUp(self) -> None:
        client = rpc.AccelAPI()
        threads = worker.Worker(client)
        self.addCleanup(threads.close)
        self._application = app.Application(calls.Service(client, threads))
        served = server.serve(self._serve, '127.0.0.1', 0)
        self.url = f'http://127.0.0.1:{served.server_port}'
        serving.start(served, self)

    def _serve(self, environ: dict[str, ty.Any], start: ty.Any) -> ty.Any:
        environ['nova.context'] = nova_context.RequestContext(
            user_id='member',
            project_id=self._project,
            roles=['member', 'reader'],
            is_admin=False,
        )
        return self._application(environ, start)
