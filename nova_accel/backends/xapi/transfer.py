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
"""Disks over HTTP: what is too large for a call.

XAPI answers an import with 200 before it has read anything, so the outcome
is only in the task. The size has to be said beforehand. A host that does
not see the storage sends us to one that does. Nothing is held in memory but
the piece that is on its way.
"""

import collections.abc
import contextlib
import logging
import select
import socket
import typing as ty
import urllib.parse

from nova_accel.backends.xapi import session
from nova_accel.backends.xapi import settings
from nova_accel.backends.xapi import tasks
from nova_accel.backends.xapi import transport
from nova_accel import exception

LOG = logging.getLogger(__name__)

PIECE = 1 << 20
_HEAD = 1 << 16
_REDIRECTS = 3
# Some answer before the body, some after: how long to wait for the former.
_EARLY = 5.0

Pieces = collections.abc.Iterable[bytes]


class Upload:
    """A disk image on its way into a VDI.

    ``write`` its bytes, then ``finish``; used as a context it is given up
    when anything fails.

    :param vdi: reference; as large as the image will be.
    :param form: ``raw`` or ``vhd``.
    :param length: bytes that will be written.
    """

    def __init__(
        self, xapi: session.Session, vdi: str, form: str, length: int
    ) -> None:
        self._xapi = xapi
        self._left = length
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._task = str(
                xapi.call('task.create', 'nova-accel import', vdi)
            )
            undo.callback(self._forget)
            url, handle = undo.enter_context(xapi.borrowed())
            query = {
                'session_id': handle,
                'task_id': self._task,
                'vdi': vdi,
                'format': form,
            }
            self._socket = _opened(
                xapi.options, url, 'PUT', '/import_raw_vdi', query, length
            )[0]
            undo.callback(self._socket.close)
            self._stack = undo.pop_all()

    def __enter__(self) -> 'Upload':
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def write(self, piece: bytes) -> None:
        """Send some bytes.

        :raises XapiFailure: what the task says, where XAPI stopped reading.
        """
        if len(piece) > self._left:
            raise exception.ImageWrong(
                reason='it is longer than its record says'
            )
        try:
            self._socket.sendall(piece)
        except OSError as error:
            # The task knows better why; it may have nothing to say.
            self._outcome(10.0)
            raise exception.XapiUnsure(
                call='import_raw_vdi', reason=str(error)
            ) from None
        self._left -= len(piece)

    def finish(self) -> None:
        """Wait until XAPI has it all.

        :raises XapiFailure: it could not be imported.
        """
        if self._left:
            raise exception.ImageWrong(
                reason=f'{self._left} bytes of it are missing'
            )
        self._outcome(None)

    def _outcome(self, timeout: float | None) -> None:
        record = tasks.wait(self._xapi, 'import_raw_vdi', self._task, timeout)
        tasks.check('import_raw_vdi', record)

    def _forget(self) -> None:
        with contextlib.suppress(exception.AccelError):
            self._xapi.call('task.cancel', self._task)
        with contextlib.suppress(exception.AccelError):
            self._xapi.call('task.destroy', self._task)


@contextlib.contextmanager
def download(
    xapi: session.Session, vdi: str, form: str
) -> collections.abc.Iterator[Pieces]:
    """Read a VDI, piece by piece.

    :param form: ``raw`` or ``vhd``.
    """
    task = xapi.call('task.create', 'nova-accel export', vdi)
    try:
        with xapi.borrowed() as (url, handle):
            query = {
                'session_id': handle,
                'task_id': task,
                'vdi': vdi,
                'format': form,
            }
            connection, reader = _opened(
                xapi.options, url, 'GET', '/export_raw_vdi', query
            )
            with connection, reader:
                yield _pieces(reader)
        tasks.check('export_raw_vdi', tasks.wait(xapi, 'export_raw_vdi', task))
    finally:
        with contextlib.suppress(exception.AccelError):
            xapi.call('task.destroy', task)


def _pieces(reader: ty.BinaryIO) -> Pieces:
    while piece := reader.read(PIECE):
        yield piece


def _opened(
    options: settings.Settings,
    url: str,
    verb: str,
    path: str,
    query: collections.abc.Mapping[str, str],
    length: int | None = None,
) -> tuple[socket.socket, ty.BinaryIO]:
    """Send the head of a request; follow where it has to go."""
    target = f'{path}?{urllib.parse.urlencode(query)}'
    for _ in range(_REDIRECTS):
        connection = _connected(options, url)
        try:
            reader = connection.makefile('rb')
            _send_head(connection, url, verb, target, length)
            status, headers = _answer(connection, reader, length)
        except BaseException:
            connection.close()
            raise
        if status == 200:
            return connection, reader
        connection.close()
        if status not in (301, 302, 307):
            raise exception.XapiUnavailable(
                reason=f'{verb} {path} is answered with {status}'
            )
        url, target = _elsewhere(url, headers.get('location', ''))
    raise exception.XapiUnavailable(reason=f'{path} is redirected for ever')


def _connected(options: settings.Settings, url: str) -> socket.socket:
    encrypted, host, port = settings.endpoint(url)
    try:
        made = socket.create_connection((host, port), options.timeout)
        if encrypted:
            return transport.context(options).wrap_socket(
                made, server_hostname=host
            )
    except OSError as error:
        raise exception.XapiUnavailable(reason=f'{url}: {error}') from None
    return made


def _send_head(
    connection: socket.socket,
    url: str,
    verb: str,
    target: str,
    length: int | None,
) -> None:
    host = urllib.parse.urlsplit(url).netloc
    lines = [f'{verb} {target} HTTP/1.0', f'Host: {host}']
    if length is not None:
        lines.append(f'Content-Length: {length}')
    try:
        connection.sendall('\r\n'.join([*lines, '', '']).encode())
    except OSError as error:
        raise exception.XapiUnavailable(reason=f'{url}: {error}') from None


def _answer(
    connection: socket.socket, reader: ty.BinaryIO, length: int | None
) -> tuple[int, dict[str, str]]:
    """Read the head of the answer, where it comes before the body."""
    if length is not None and not _is_ready(connection):
        return 200, {}
    try:
        lines = _lines(reader)
    except OSError as error:
        raise exception.XapiUnavailable(reason=str(error)) from None
    words = lines[0].split() if lines else []
    if len(words) < 2 or not words[1].isdecimal():
        raise exception.XapiUnavailable(reason='the answer is no HTTP')
    pairs = (line.partition(':') for line in lines[1:])
    return int(words[1]), {
        name.strip().lower(): value.strip() for name, _, value in pairs
    }


def _is_ready(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], _EARLY)[0])


def _lines(reader: ty.BinaryIO) -> list[str]:
    lines: list[str] = []
    size = 0
    while (line := reader.readline(_HEAD)).strip() and size < _HEAD:
        size += len(line)
        lines.append(line.decode('latin-1').strip())
    return lines


def _elsewhere(url: str, location: str) -> tuple[str, str]:
    """Split where a redirection leads; never to less protection."""
    here, there = map(
        urllib.parse.urlsplit, (url, urllib.parse.urljoin(url, location))
    )
    if there.scheme != here.scheme or not there.hostname:
        raise exception.XapiUnavailable(
            reason=f'it redirects to {there.scheme}://{there.hostname}'
        )
    return f'{there.scheme}://{there.netloc}', f'{there.path}?{there.query}'
