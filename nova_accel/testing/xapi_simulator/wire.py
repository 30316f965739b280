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
"""HTTP: XML-RPC by POST, images by PUT and GET, control under /simulator."""

import http.server
import json
import socket
import typing as ty
import urllib.parse
import xml.parsers.expat
import xmlrpc.client

from nova_accel.testing.xapi_simulator import control
from nova_accel.testing.xapi_simulator import dispatch
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import transfer
from nova_accel.testing.xapi_simulator import world

MAX_BODY = 16 * 1024 * 1024

# What the standard library raises of a body that is no call.
_NO_CALL = (
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    xml.parsers.expat.ExpatError,
    xmlrpc.client.Error,
)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection to one host's XAPI."""

    protocol_version = 'HTTP/1.1'
    server_version = 'nova-accel-xapi-simulator'
    disable_nagle_algorithm = True
    wbufsize = -1
    world: ty.ClassVar[world.World]
    host: ty.ClassVar[str]

    def log_message(self, *args: object) -> None:
        """Say nothing: URLs hold sessions."""

    def do_POST(self) -> None:
        if self.path.startswith(control.PREFIX):
            self._control()
            return
        try:
            parameters, method = xmlrpc.client.loads(self._body())
        except _NO_CALL:
            self.send_error(400, 'no XML-RPC')
            return
        if method is None:
            self.send_error(400, 'no XML-RPC call')
            return
        answer = self._respond(method, parameters)
        if answer is None:
            self.drop()
            return
        text = xmlrpc.client.dumps((answer,), methodresponse=True)
        self.reply(200, text.encode(), 'text/xml')

    def _respond(
        self, method: str, parameters: tuple[ty.Any, ...]
    ) -> dispatch.Response | None:
        """Return the answer; None if the connection breaks instead."""
        starts = self.world.starts
        if self.world.is_down(self.host):
            return None
        try:
            answer = dispatch.respond(
                self.world, self.host, method, parameters
            )
        except faults.Dropped:
            return None
        # Nobody is left to answer what was asked before a restart.
        return answer if starts == self.world.starts else None

    def do_PUT(self) -> None:
        self._transfer({'/import_raw_vdi': transfer.receive})

    def do_GET(self) -> None:
        if self.path.startswith(control.PREFIX):
            self._control()
            return
        self._transfer({'/export_raw_vdi': transfer.send})

    def do_DELETE(self) -> None:
        self._control()

    def _transfer(self, known: dict[str, transfer.Answer]) -> None:
        url = urllib.parse.urlsplit(self.path)
        answer = known.get(url.path)
        self.close_connection = True
        if answer is None:
            self.send_error(404)
            return
        if self.world.is_down(self.host):
            self.drop()
            return
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            answer(self, transfer.Request(self.world, self.host, query))
        except faults.Dropped:
            self.drop()

    def _control(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        try:
            body = json.loads(self._body() or b'{}')
            status, answer = control.answer(
                self.world, self.command, path, body
            )
        except ValueError as error:
            status, answer = 400, {'error': f'no JSON: {error}'}
        text = json.dumps(answer, indent=1) + '\n'
        self.reply(status, text.encode(), 'application/json')

    def _body(self) -> bytes:
        text = self.headers.get('Content-Length', '0')
        length = int(text) if text.isascii() and text.isdigit() else 0
        if length > MAX_BODY:
            raise ValueError(f'more than {MAX_BODY} bytes')
        return self.rfile.read(length)

    def reply(
        self, status: int, body: bytes = b'', kind: str = '', **headers: str
    ) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        if kind:
            self.send_header('Content-Type', kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def drop(self) -> None:
        """Break the connection."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
