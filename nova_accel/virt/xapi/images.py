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
"""Images on their way from Glance into disks, and back.

They are streamed: what is in memory is the piece that is on its way.
"""

import collections.abc
import contextlib
import io
import struct
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
from nova.image import glance
from nova import objects

from nova_accel.backends import xapi
from nova_accel.backends.xapi import transfer
from nova_accel import exception
from nova_accel.virt.xapi import disks

RAW = 'raw'
VHD = 'vhd'
FORMATS = (RAW, VHD)

# What a VHD starts with: a copy of its footer. At 48, the size of the disk.
_FOOTER = 512
_COOKIE = b'conectix'
_SIZE_AT = 48


class Sink:
    """Takes an image as Glance's client writes it, and passes it on.

    The disk is made once the image has told how large it will be.

    :param open_: (size of the disk) -> upload.
    """

    def __init__(
        self,
        form: str,
        length: int,
        open_: collections.abc.Callable[[int], transfer.Upload],
    ) -> None:
        self._form = form
        self._length = length
        self._open = open_
        self._head = b''
        self._upload: transfer.Upload | None = None

    def write(self, piece: bytes) -> None:
        if self._upload is None:
            self._head += piece
            if self._form == VHD and len(self._head) < _FOOTER:
                return
            self._begin()
            piece, self._head = self._head, b''
        if self._upload is not None:
            self._upload.write(piece)

    def _begin(self) -> None:
        size = self._length if self._form == RAW else vhd_size(self._head)
        self._upload = self._open(size)

    def truncate(self, _size: int) -> None:
        """What is called before a wrong signature is told. It is undone."""

    def finish(self) -> None:
        """Wait until the disk holds it all."""
        if self._upload is None:
            raise exception.ImageWrong(reason='it is too short')
        self._upload.finish()


def vhd_size(head: bytes) -> int:
    """Read the size of the disk from the start of a VHD.

    :raises ImageWrong: it is no VHD, or one of a fixed size.
    """
    if not head.startswith(_COOKIE):
        raise exception.ImageWrong(
            reason='it does not start as a dynamic VHD does'
        )
    return int(struct.unpack_from('>Q', head, _SIZE_AT)[0])


def load(
    context: nova_context.RequestContext,
    session: xapi.Session,
    store: disks.Disks,
    instance: objects.Instance,
    image_meta: objects.ImageMeta,
    purpose: str,
    room: int,
) -> str:
    """Make a disk with an image in it.

    :param room: bytes that the disk is to have; 0 for those of the image.
    :raises ImageUnacceptable: it is in no format that can be used.
    :raises FlavorDiskSmallerThanImage: it needs more than ``room``.
    """
    form = form_of(image_meta)
    length = _length(context, image_meta)
    disk = []
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as stack:

        def open_(size: int) -> transfer.Upload:
            if room and size > room:
                raise nova_exception.FlavorDiskSmallerThanImage(
                    flavor_size=room, image_size=size
                )
            vdi = store.create(
                instance.uuid, purpose, room or size, instance.name
            )
            undo.callback(store.discard, vdi)
            disk.append(vdi)
            return stack.enter_context(
                transfer.Upload(session, vdi, form, length)
            )

        sink = Sink(form, length, open_)
        glance.API().download(
            context,
            image_meta.id,
            data=sink,
            trusted_certs=instance.trusted_certs,
        )
        sink.finish()
        undo.pop_all()
    return str(disk[0])


def _length(
    context: nova_context.RequestContext, image_meta: objects.ImageMeta
) -> int:
    """Return the bytes of an image.

    What a server remembers of its image does not tell them.
    """
    if image_meta.obj_attr_is_set('size'):
        return int(image_meta.size or 0)
    return int(glance.API().get(context, image_meta.id)['size'] or 0)


def form_of(image_meta: objects.ImageMeta) -> str:
    """Return in which format an image is.

    :raises ImageUnacceptable: not one that XAPI imports.
    """
    form = (
        image_meta.disk_format
        if image_meta.obj_attr_is_set('disk_format')
        else None
    )
    container = (
        image_meta.container_format
        if image_meta.obj_attr_is_set('container_format')
        else 'bare'
    )
    if form not in FORMATS or container not in ('bare', None):
        raise nova_exception.ImageUnacceptable(
            image_id=image_meta.id,
            reason=f'its format is {form} in {container}; this driver takes '
            f'{" and ".join(FORMATS)}, each in bare',
        )
    return str(form)


class Reader(io.RawIOBase):
    """Pieces, read as a file is: what Glance's client takes."""

    def __init__(self, pieces: collections.abc.Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b'')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: ty.Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b''))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def save(
    context: nova_context.RequestContext,
    session: xapi.Session,
    vdi: str,
    image_id: str,
) -> None:
    """Write a disk into an image that exists already."""
    metadata = {
        'disk_format': RAW,
        'container_format': 'bare',
        'properties': {},
    }
    with transfer.download(session, vdi, RAW) as pieces:
        glance.API().update(
            context,
            image_id,
            metadata,
            data=io.BufferedReader(Reader(pieces), transfer.PIECE),
            purge_props=False,
        )
