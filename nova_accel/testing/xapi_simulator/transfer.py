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
"""Images over HTTP: PUT /import_raw_vdi and GET /export_raw_vdi.

As XAPI does it, an import is answered with 200 before its body is read: how it
ended stands in the task alone. A host that does not see the SR sends its
client to one that does. Stages for faults of ``import_raw_vdi`` and
``export_raw_vdi``: before, half (of the bytes), after.
"""

import collections.abc
import dataclasses
import typing as ty

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import images
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import sr
from nova_accel.testing.xapi_simulator import task as tasks
from nova_accel.testing.xapi_simulator import vhd
from nova_accel.testing.xapi_simulator import world

IMPORT = 'import_raw_vdi'
EXPORT = 'export_raw_vdi'
HALF = 'half'
RAW = 'raw'
VHD = 'vhd'

Answer: ty.TypeAlias = collections.abc.Callable[[ty.Any, 'Request'], None]


@dataclasses.dataclass
class Request:
    """A transfer that somebody asks for.

    :ivar query: parameters of the URL.
    """

    world: world.World
    host: str
    query: dict[str, str]
    task: str = ''

    @property
    def format(self) -> str:
        return self.query.get('format', RAW)

    def vdi(self) -> str:
        """:raises Failure: there is no such disk."""
        name = self.query.get('vdi', '')
        store = self.world.store
        found = store.find('VDI', uuid=name)
        if found:
            return found[0]
        store.row('VDI', name)
        return name

    def stage(self, message: str, name: str) -> None:
        """:raises Failure: a fault's error, or TASK_CANCELLED."""
        stop = self.world.cancelled.get(self.task)
        self.world.faults.strike(message, name, self.query, stop)
        if stop is not None and stop.is_set():
            raise failure.Failure('TASK_CANCELLED', self.task)


def _begin(http: ty.Any, request: Request, message: str) -> str | None:
    """Return the disk to transfer; None if the request was answered."""
    one = request.world
    one.counts[message] += 1
    try:
        session.check(one, request.query.get('session_id'))
    except failure.Failure:
        http.reply(401)
        return None
    request.task = request.query.get('task_id', '') or tasks.start(
        one, message, request.host
    )
    try:
        request.stage(message, faults.BEFORE)
        return _find_disk(http, request)
    except failure.Failure as error:
        tasks.fail(one, request.task, error)
        http.reply(400)
        return None


def _find_disk(http: ty.Any, request: Request) -> str | None:
    store = request.world.store
    vdi = request.vdi()
    place = store.get('VDI', vdi, 'SR')
    if not sr.is_attached(store, place, request.host):
        sr.check_usable(store, place)
        other = request.world.urls[sr.hosts(store, place)[0]]
        # The task goes with the client.
        http.reply(302, Location=f'{other}{http.path}')
        return None
    encoding = http.headers.get('Transfer-Encoding')
    if encoding:
        _refuse(http, request, f'Cannot handle encoding: {encoding}')
        return None
    if request.format not in (RAW, VHD):
        _refuse(http, request, f'Unknown format {request.format}')
        return None
    return vdi


def _refuse(http: ty.Any, request: Request, why: str) -> None:
    error = failure.Failure('INTERNAL_ERROR', why)
    tasks.fail(request.world, request.task, error)
    http.reply(404)


def receive(http: ty.Any, request: Request) -> None:
    """Answer PUT /import_raw_vdi."""
    vdi = _begin(http, request, IMPORT)
    if vdi is None:
        return
    length = http.headers.get('Content-Length', '')
    if not length.isdigit():
        http.reply(411)
        return
    # The promise that means nothing.
    http.wfile.write(
        f'HTTP/1.1 200 OK\r\nConnection: close\r\n'
        f'Task-Id: {request.task}\r\n\r\n'.encode()
    )
    http.wfile.flush()
    one = request.world
    try:
        _store(http.rfile, request, vdi, int(length))
        request.stage(IMPORT, faults.AFTER)
    except failure.Failure as error:
        tasks.fail(one, request.task, error)
    except faults.Dropped:
        tasks.fail(
            one, request.task, failure.Failure('IMPORT_ERROR_PREMATURE_EOF')
        )
        raise
    else:
        tasks.succeed(one, request.task, vdi)


def _store(
    stream: ty.BinaryIO, request: Request, vdi: str, length: int
) -> None:
    one = request.world
    if disks.is_attached(one.store, vdi):
        # Attached to the host's own domain after the answer: too late.
        raise failure.Failure('VDI_IN_USE', vdi, 'import')
    size = one.store.get('VDI', vdi, 'virtual_size')
    writer = (
        vhd.Decoder(one.images, vdi, size)
        if request.format == VHD
        else images.Writer(one.images, vdi, size)
    )
    one.images.erase(vdi)
    done = 0
    for piece in _pieces(stream, length):
        if done < length / 2 <= done + len(piece):
            request.stage(IMPORT, HALF)
        done += len(piece)
        writer.write(piece)
        _note_progress(one, request.task, done / length)
    request.stage(IMPORT, 'read')
    writer.finish()


def _note_progress(one: world.World, task: str, progress: float) -> None:
    """Tell everybody, but not of every byte."""
    rounded = round(progress, 1)
    if one.store.exists(task):
        one.store.set('task', task, progress=rounded)


def _pieces(
    stream: ty.BinaryIO, length: int
) -> collections.abc.Iterator[bytes]:
    left = length
    while left > 0:
        try:
            piece = stream.read(min(left, images.CHUNK))
        except OSError:
            piece = b''
        if not piece:
            raise failure.Failure('IMPORT_ERROR_PREMATURE_EOF')
        yield piece
        left -= len(piece)


def send(http: ty.Any, request: Request) -> None:
    """Answer GET /export_raw_vdi."""
    vdi = _begin(http, request, EXPORT)
    if vdi is None:
        return
    one = request.world
    size = one.store.get('VDI', vdi, 'virtual_size')
    pieces = one.images.read(vdi, size)
    length = size
    if request.format == VHD:
        length, pieces = vhd.encode(lambda: one.images.read(vdi, size), size)
    http.send_response(200)
    http.send_header('Content-Length', str(length))
    http.send_header('Task-Id', request.task)
    http.end_headers()
    try:
        _send(http, request, pieces, length)
        request.stage(EXPORT, faults.AFTER)
    except failure.Failure as error:
        tasks.fail(one, request.task, error)
        raise faults.Dropped from error
    except OSError as error:
        text = f'the client went away: {error}'
        tasks.fail(one, request.task, failure.Failure('INTERNAL_ERROR', text))
    else:
        tasks.succeed(one, request.task)


def _send(
    http: ty.Any,
    request: Request,
    pieces: collections.abc.Iterable[bytes],
    length: int,
) -> None:
    done = 0
    for piece in pieces:
        if done < length / 2 <= done + len(piece):
            request.stage(EXPORT, HALF)
        http.wfile.write(piece)
        done += len(piece)
    http.wfile.flush()
