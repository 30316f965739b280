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
"""Serves something in the background, until a test or a fixture is over."""

import collections.abc
import socketserver
import threading
import typing as ty


class Owner(ty.Protocol):
    """A test case, or a fixture."""

    def addCleanup(
        self, function: collections.abc.Callable[..., object], /
    ) -> object:
        """Have something called at its end, the last first."""


def start(server: socketserver.BaseServer, owner: Owner) -> None:
    """Serve until the owner is cleaned up."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    owner.addCleanup(thread.join)
    owner.addCleanup(server.server_close)
    owner.addCleanup(server.shutdown)
