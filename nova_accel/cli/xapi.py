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
"""A host of XenServer or XCP-ng, named by ``--connect``.

``xapi+https://root@master.example/host1?ca=/etc/ssl/pool.pem``: the pool, the
user, the host of the pool (needed where it has several), and the certificates
to trust. The password is best left to the environment.
"""

import contextlib
import os
import urllib.parse

from nova_accel.core import device
from nova_accel import exception

PREFIX = 'xapi+'
PASSWORD = 'NOVA_ACCEL_XAPI_PASSWORD'

_PATIENCE = 10.0


def is_meant(uri: str) -> bool:
    """Tell a connection to XAPI from one to libvirt."""
    return uri.startswith(PREFIX)


def read(
    uri: str, guests: bool = False
) -> tuple[str, device.HostView, tuple[device.Guest, ...]]:
    """Return the host's name, its devices, and its guests if wanted.

    :raises BackendUnavailable: XAPI cannot be asked.
    """
    # Imported when it is needed, as libvirt is.
    from nova_accel.backends import xapi

    parts = urllib.parse.urlsplit(uri.removeprefix(PREFIX))
    query = urllib.parse.parse_qs(parts.query)
    password = os.environ.get(PASSWORD) or urllib.parse.unquote(
        parts.password or ''
    )
    if not password:
        raise exception.XapiUnavailable(
            reason=f'no password: set {PASSWORD} in the environment'
        )
    place = parts.netloc.rpartition('@')[2]
    options = xapi.Settings(
        url=f'{parts.scheme}://{place}',
        username=urllib.parse.unquote(parts.username or 'root'),
        password=password,
        ca_file=query.get('ca', [''])[0],
        patience=_PATIENCE,
    )
    with contextlib.closing(xapi.Session(options)) as session:
        host = xapi.XapiBackend(session, parts.path.strip('/'))
        view = host.discover(full=True)
        found = host.guests() if guests else ()
        return host.name, view, found
