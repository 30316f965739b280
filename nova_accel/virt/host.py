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
"""Nova's Host, taught what size the node has.

At every claim stock nova asks libvirt for the node's memory and processors,
while it holds the lock that all claims of the node share. Its periodic has
asked the same outside of the lock, not long ago.
"""

import collections.abc
import contextlib
import threading
import typing as ty

from nova.virt.libvirt import host as libvirt_host

_T = ty.TypeVar('_T')


def adopt(host: libvirt_host.Host) -> None:
    """Teach nova's Host of this process."""
    host.__class__ = AccelHost
    host.known = {}
    host.local = threading.local()


class AccelHost(libvirt_host.Host):  # type: ignore[misc]
    """Asks libvirt for the size of the node, and remembers the answer."""

    known: dict[str, ty.Any]
    local: threading.local

    @contextlib.contextmanager
    def recalling(self) -> collections.abc.Iterator[None]:
        """Answer this thread from memory, where anything is remembered."""
        self.local.recalling = True
        try:
            yield
        finally:
            self.local.recalling = False

    def _recall(self, what: str, ask: collections.abc.Callable[[], _T]) -> _T:
        if what not in self.known or not getattr(
            self.local, 'recalling', False
        ):
            self.known[what] = ask()
        return ty.cast(_T, self.known[what])

    def _get_hardware_info(self) -> ty.Any:
        return self._recall('hardware', super()._get_hardware_info)

    def get_online_cpus(self) -> set[int]:
        return self._recall('online', super().get_online_cpus)

    def get_available_cpus(self) -> set[int]:
        return self._recall('available', super().get_available_cpus)
