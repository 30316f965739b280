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
"""Virtual disks: made, filled from images, attached, removed."""

import collections.abc
import contextlib
import dataclasses
import logging

from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import transfer
from nova_accel.backends.xapi import wire
from nova_accel import exception

LOG = logging.getLogger(__name__)

ROOT = 'root'
EPHEMERAL = 'ephemeral'
SWAP = 'swap'
CONFIG = 'config'
RESCUE = 'rescue'
VOLUME = 'volume'

MIB = 1 << 20
GIB = 1 << 30

# Where each disk of a machine sits; volumes take what is left.
DEVICES = {ROOT: '0', SWAP: '2', CONFIG: '3', EPHEMERAL: '4', RESCUE: '0'}
# Of a machine that is being rescued, its own root disk.
ASIDE = '1'


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk that is attached to a machine."""

    vbd: str
    vdi: str
    device: str
    purpose: str
    size: int
    attached: bool


class Disks:
    """The disks of servers, in one storage repository.

    :param wanted: uuid or name of the repository, '' for the pool's own.
    """

    def __init__(
        self, session: xapi.Session, backend: xapi.XapiBackend, wanted: str
    ) -> None:
        self._xapi = session
        self._backend = backend
        self._wanted = wanted
        self._sr = ''

    @property
    def sr(self) -> str:
        """Reference of the storage repository.

        :raises XapiUnavailable: there is none on this host.
        """
        if not self._sr:
            self._sr = self._find_sr()
        return self._sr

    def _find_sr(self) -> str:
        if not self._wanted:
            pool = self._xapi.call('pool.get_all')[0]
            found = [self._xapi.call('pool.get_default_SR', pool)]
        else:
            try:
                found = [self._xapi.call('SR.get_by_uuid', self._wanted)]
            except exception.XapiFailure:
                found = self._xapi.call('SR.get_by_name_label', self._wanted)
        here = self._backend.survey().host
        for sr in found:
            if wire.is_ref(sr) and self._is_plugged(sr, here):
                return str(sr)
        raise exception.XapiUnavailable(
            reason=f'storage repository {self._wanted or "(default)"} is not '
            f'plugged on this host; set [accel_xapi]sr'
        )

    def _is_plugged(self, sr: str, host: str) -> bool:
        try:
            pbds = self._xapi.call('SR.get_PBDs', sr)
            records = [self._xapi.call('PBD.get_record', p) for p in pbds]
        except exception.XapiGone:
            return False
        return any(
            r['host'] == host and r['currently_attached'] for r in (records)
        )

    def space(self) -> tuple[int, int]:
        """Return size and use of the repository, in bytes."""
        record = self._xapi.call('SR.get_record', self.sr)
        return (
            int(record['physical_size']),
            int(record['physical_utilisation']),
        )

    def create(self, server: str, purpose: str, size: int, name: str) -> str:
        """Make an empty disk of at least so many bytes."""
        return str(
            self._xapi.call(
                'VDI.create',
                {
                    'name_label': f'{name} {purpose}',
                    'name_description': '',
                    'SR': self.sr,
                    'virtual_size': -(-size // MIB) * MIB,
                    'type': 'user',
                    'sharable': False,
                    'read_only': False,
                    'other_config': {
                        marks.SERVER: server,
                        marks.HOST: self._backend.host_uuid,
                        marks.PURPOSE: purpose,
                    },
                    'xenstore_data': {},
                    'sm_config': {},
                    'tags': [],
                },
            )
        )

    def attach(
        self,
        vm: str,
        vdi: str,
        device: str,
        bootable: bool = False,
        read_only: bool = False,
        config: collections.abc.Mapping[str, str] | None = None,
    ) -> str:
        """Give a machine a disk; plug it in where the machine runs."""
        return str(
            self._xapi.call(
                'VBD.create',
                {
                    'VM': vm,
                    'VDI': vdi,
                    'userdevice': device,
                    'bootable': bootable,
                    'mode': 'RO' if read_only else 'RW',
                    'type': 'Disk',
                    'unpluggable': True,
                    'empty': False,
                    'other_config': dict(config or {}),
                    'qos_algorithm_type': '',
                    'qos_algorithm_params': {},
                },
            )
        )

    def detach(self, vbd: str) -> None:
        """Take a disk from a machine that does not use it any more."""
        with contextlib.suppress(exception.XapiGone):
            self._xapi.call('VBD.destroy', vbd)

    def remove(self, vdi: str) -> None:
        """Destroy a disk. Idempotent."""
        with contextlib.suppress(exception.XapiGone):
            self._xapi.call('Async.VDI.destroy', vdi)

    def of(self, vm: str) -> list[Disk]:
        """Return the disks of a machine, in the order of their devices."""
        found = []
        for ref in self._xapi.call('VM.get_VBDs', vm):
            vbd = self._xapi.call('VBD.get_record', ref)
            if vbd['type'] != 'Disk' or not wire.is_ref(vbd['VDI']):
                continue
            vdi = self._xapi.call('VDI.get_record', vbd['VDI'])
            found.append(_disk(ref, vbd, vdi))
        return sorted(found, key=lambda disk: int(disk.device))

    def left_behind(
        self, server: str
    ) -> collections.abc.Iterator[tuple[str, wire.Record]]:
        """Return the disks of a server on this host, attached or not."""
        records = self._xapi.call('VDI.get_all_records')
        for ref, record in records.items():
            config = record['other_config']
            if (config.get(marks.SERVER), config.get(marks.HOST)) == (
                server,
                self._backend.host_uuid,
            ):
                yield ref, record

    def copy(
        self, source: str, server: str, purpose: str, size: int, name: str
    ) -> str:
        """Copy a disk, from wherever the pool has it, through this process.

        :param size: bytes of the copy, at least those of the source.
        """
        length = int(self._xapi.call('VDI.get_virtual_size', source))
        with contextlib.ExitStack() as undo:
            made = self.create(server, purpose, max(size, length), name)
            undo.callback(self.discard, made)
            with (
                transfer.download(self._xapi, source, 'raw') as pieces,
                transfer.Upload(self._xapi, made, 'raw', length) as upload,
            ):
                for piece in pieces:
                    upload.write(piece)
                upload.finish()
            undo.pop_all()
        return made

    def discard(self, vdi: str) -> None:
        """Destroy a disk while something else fails already."""
        try:
            self.remove(vdi)
        except exception.AccelError as error:
            LOG.warning('A disk is left behind for now: %s', error)

    def fill(self, vdi: str, path: str, length: int) -> None:
        """Write a local file into a disk."""
        with (
            open(path, 'rb') as source,
            transfer.Upload(self._xapi, vdi, 'raw', length) as upload,
        ):
            while piece := source.read(transfer.PIECE):
                upload.write(piece)
            upload.finish()


def _disk(ref: str, vbd: wire.Record, vdi: wire.Record) -> Disk:
    config = {**vdi['other_config'], **vbd['other_config']}
    return Disk(
        vbd=ref,
        vdi=vbd['VDI'],
        device=str(vbd['userdevice']),
        purpose=config.get(marks.PURPOSE, ''),
        size=int(vdi['virtual_size']),
        attached=bool(vbd['currently_attached']),
    )


def purpose_of(record: wire.Record) -> str:
    """Return what a disk is for, by its own record."""
    return str(record['other_config'].get(marks.PURPOSE, ''))
