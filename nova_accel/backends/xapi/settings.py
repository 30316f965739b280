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
"""Where XAPI is, and how long it may take."""

import dataclasses
import urllib.parse

from nova_accel import exception

_PORTS = {'http': 80, 'https': 443}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to reach a pool.

    :ivar url: of any member, ``https://host1.example``.
    :ivar password: never shown.
    :ivar ca_file: certificates to trust; '' for those of the system.
    :ivar insecure: do not check certificates at all.
    :ivar timeout: seconds for one answer.
    :ivar task_timeout: seconds for one task, an import included.
    :ivar patience: seconds to look for a master when there is none.
    :ivar sessions: connections kept at most.
    """

    url: str
    username: str = 'root'
    password: str = dataclasses.field(default='', repr=False)
    ca_file: str = ''
    insecure: bool = False
    timeout: float = 60.0
    task_timeout: float = 3600.0
    patience: float = 60.0
    sessions: int = 8

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise exception.XapiUnavailable(
                reason=f'{self.url.rpartition("@")[2]!r} is no URL of XAPI; '
                f'write https:// and the address of a host of the pool'
            )

    def at(self, address: str) -> str:
        """Return the URL of another member of the pool.

        :param address: as XAPI gives it: without a port, as a rule.
        """
        here = urllib.parse.urlsplit(self.url)
        if address.count(':') > 1 and not address.startswith('['):
            address = f'[{address}]'
        has_port = urllib.parse.urlsplit(f'//{address}').port is not None
        if here.port is not None and not has_port:
            address = f'{address}:{here.port}'
        return f'{here.scheme}://{address}'


def endpoint(url: str) -> tuple[bool, str, int]:
    """Return whether TLS is spoken there, the host, and the port."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    return parts.scheme == 'https', parts.hostname or '', port
