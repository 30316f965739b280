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
"""Sockets: one for the XAPI of each host."""

import http.server
import ipaddress
import socket
import ssl
import threading
import types
import typing as ty

from nova_accel.testing.xapi_simulator import build
from nova_accel.testing.xapi_simulator import parts
from nova_accel.testing.xapi_simulator import wire
from nova_accel.testing.xapi_simulator import world

_ATTEMPTS = 20


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def handle_error(self, request: ty.Any, address: ty.Any) -> None:
        """A client that went away is none of our business."""


class Simulator:
    """A pool that answers. Use it in a ``with`` statement.

    Hosts listen on the port of the first one, at the addresses after its
    address, unless the topology gives them another.

    :param found: what the pool is made of.
    :param address: of the first host.
    :param port: of all hosts; 0 for any that is free.
    :param certificate: PEM file of a certificate and its key, for TLS.
    :ivar world: what there is; tests may look into it.
    """

    def __init__(
        self,
        found: parts.Topology,
        address: str = '127.0.0.1',
        port: int = 0,
        certificate: str = '',
    ) -> None:
        self.world = build.build(found, address)
        self.scheme = 'https' if certificate else 'http'
        self._servers = self._bind(port)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            for server in self._servers:
                server.socket = context.wrap_socket(
                    server.socket,
                    server_side=True,
                    do_handshake_on_connect=False,
                )
        self.port: int = self._servers[0].server_address[1]
        for host, server in zip(
            self.world.store.refs('host'), self._servers, strict=True
        ):
            self.world.urls[host] = self._url(host)
            server.RequestHandlerClass = _handler(self.world, host)
        self._threads = [
            threading.Thread(
                target=server.serve_forever, args=(0.02,), daemon=True
            )
            for server in self._servers
        ]

    def _url(self, host: str) -> str:
        address = self.world.address(host)
        bracketed = f'[{address}]' if ':' in address else address
        return f'{self.scheme}://{bracketed}:{self.port}'

    def _bind(self, port: int) -> list[_Server]:
        """Bind all hosts to one port.

        :raises OSError: it is taken, or an address is not ours.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._bind_once(port)
            except OSError:
                # The port that is free at one address may not be at others.
                if port:
                    raise
        return self._bind_once(port)

    def _bind_once(self, port: int) -> list[_Server]:
        servers: list[_Server] = []
        try:
            for host in self.world.store.refs('host'):
                place = (self.world.address(host), port)
                kind = _Server
                if ipaddress.ip_address(place[0]).version == 6:
                    kind = _Server6
                servers.append(kind(place, wire.Handler))
                port = servers[0].server_address[1]
        except OSError:
            for server in servers:
                server.server_close()
            raise
        return servers

    @property
    def url(self) -> str:
        """Where the pool's master answers."""
        return self.world.urls[self.world.master]

    @property
    def urls(self) -> dict[str, str]:
        """Name of a host -> where its XAPI answers."""
        store = self.world.store
        return {
            store.get('host', host, 'name_label'): url
            for host, url in self.world.urls.items()
        }

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.ident is not None:
                server.shutdown()
            server.server_close()
        self.world.close()

    def __enter__(self) -> 'Simulator':
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.stop()


class _Server6(_Server):
    address_family = socket.AF_INET6


def _handler(one: world.World, host: str) -> type[wire.Handler]:
    return type('Handler', (wire.Handler,), {'world': one, 'host': host})
