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
"""iSCSI volumes: a storage repository each, for as long as it is in use.

Nothing of it is on the volume: the repository is introduced, and forgotten.
"""

import collections.abc
import contextlib
import typing as ty
import uuid

from nova import exception as nova_exception

from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel import exception
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import machines

Connection: ty.TypeAlias = collections.abc.Mapping[str, ty.Any]

_VOLUME = 'nova_volume'
_NAMESPACE = uuid.UUID('8b0b6d4e-3f0a-4f4b-9a57-0f6a2d4c7e11')


class Volumes:
    """Volumes of servers of this host."""

    def __init__(
        self,
        session: xapi.Session,
        machines_: machines.Machines,
        store: disks.Disks,
    ) -> None:
        self._xapi = session
        self._machines = machines_
        self._store = store

    def attach(
        self,
        vm: str,
        connection: Connection,
        mountpoint: str,
        running: bool,
        boot: bool = False,
    ) -> None:
        """Give a machine a volume; leave nothing where that fails.

        :raises VolumeAttachFailed: it is of a kind that cannot be had.
        """
        volume, data = _data(connection)
        with contextlib.ExitStack() as undo:
            sr = self._connect(volume, data, undo)
            vdi = self._disk(sr, data, volume)
            device = self._device(vm, mountpoint)
            vbd = self._store.attach(
                vm,
                vdi,
                device,
                bootable=boot,
                config={_VOLUME: volume, marks.PURPOSE: disks.VOLUME},
            )
            undo.callback(self._store.detach, vbd)
            if running:
                self._xapi.call('Async.VBD.plug', vbd)
            undo.pop_all()

    def detach(self, vm: str | None, connection: Connection) -> None:
        """Take a volume from a machine, and its repository away. Idempotent.

        :param vm: None: the machine is gone already.
        """
        volume, data = _data(connection)
        for disk in self._store.of(vm) if vm is not None else ():
            if self._is(disk, volume):
                if disk.attached:
                    self._xapi.call('Async.VBD.unplug', disk.vbd)
                self._store.detach(disk.vbd)
        self._disconnect(_uuid(data))

    def _is(self, disk: disks.Disk, volume: str) -> bool:
        if disk.purpose != disks.VOLUME:
            return False
        config = self._xapi.call('VBD.get_other_config', disk.vbd)
        return bool(config.get(_VOLUME) == volume)

    def _connect(
        self, volume: str, data: Connection, undo: contextlib.ExitStack
    ) -> str:
        """Let this host see the target; take up what was begun before."""
        undo.callback(self._disconnect, _uuid(data))
        found = self._known(_uuid(data))
        if found is None:
            found = str(
                self._xapi.call(
                    'SR.introduce',
                    _uuid(data),
                    f'nova volume {volume}',
                    '',
                    'iscsi',
                    '',
                    False,
                    {},
                )
            )
        pbd, plugged = self._pbd(found)
        if pbd is None:
            pbd = self._xapi.call(
                'PBD.create',
                {
                    'host': self._machines.host,
                    'SR': found,
                    'device_config': _device_config(data),
                    'other_config': {},
                },
            )
        if not plugged:
            self._xapi.call('Async.PBD.plug', pbd)
        return found

    def _known(self, sr_uuid: str) -> str | None:
        try:
            return str(self._xapi.call('SR.get_by_uuid', sr_uuid))
        except exception.XapiFailure:
            return None

    def _pbd(self, sr: str) -> tuple[str | None, bool]:
        """Return what connects this host to a repository, if anything."""
        for ref in self._xapi.call('SR.get_PBDs', sr):
            record = self._xapi.call('PBD.get_record', ref)
            if record['host'] == self._machines.host:
                return ref, bool(record['currently_attached'])
        return None, False

    def _disk(self, sr: str, data: Connection, volume: str) -> str:
        self._xapi.call('Async.SR.scan', sr)
        found = {
            ref: self._xapi.call('VDI.get_record', ref)
            for ref in self._xapi.call('SR.get_VDIs', sr)
        }
        lun = str(data.get('target_lun', ''))
        for ref, record in found.items():
            if len(found) == 1 or record['sm_config'].get('LUNid') == lun:
                return str(ref)
        raise nova_exception.VolumeAttachFailed(
            volume_id=volume, reason=f'its target shows no LUN {lun}'
        )

    def _device(self, vm: str, mountpoint: str) -> str:
        """Return where to plug it in: where nova says, if that is free."""
        free = self._xapi.call('VM.get_allowed_VBD_devices', vm)
        wanted = _index(mountpoint)
        if wanted in free:
            return wanted
        # What the driver itself will use stays free for it.
        usual = set(disks.DEVICES.values()) | {disks.ASIDE}
        return str(next((d for d in free if d not in usual), free[0]))

    def _disconnect(self, sr_uuid: str) -> None:
        sr = self._known(sr_uuid)
        if sr is None:
            return
        for vdi in self._xapi.call('SR.get_VDIs', sr):
            if self._xapi.call('VDI.get_VBDs', vdi):
                return
        with contextlib.suppress(exception.XapiGone):
            for pbd in self._xapi.call('SR.get_PBDs', sr):
                self._xapi.call('Async.PBD.unplug', pbd)
                self._xapi.call('PBD.destroy', pbd)
            self._xapi.call('SR.forget', sr)


def _data(connection: Connection) -> tuple[str, Connection]:
    data = connection.get('data') or {}
    volume = str(
        connection.get('serial') or data.get('volume_id') or 'unknown'
    )
    kind = connection.get('driver_volume_type')
    if kind != 'iscsi':
        raise nova_exception.VolumeAttachFailed(
            volume_id=volume,
            reason=f'it comes by {kind}, and this driver takes iscsi only',
        )
    return volume, data


def _uuid(data: Connection) -> str:
    """Name the repository of a volume: always the same one."""
    key = f'{data["target_iqn"]}/{data.get("target_lun", 0)}'
    return str(uuid.uuid5(_NAMESPACE, key))


def _device_config(data: Connection) -> dict[str, str]:
    host, _, port = str(data['target_portal']).rpartition(':')
    found = {
        'target': host.strip('[]'),
        'port': port,
        'targetIQN': str(data['target_iqn']),
    }
    if data.get('auth_method') == 'CHAP':
        found['chapuser'] = str(data['auth_username'])
        found['chappassword'] = str(data['auth_password'])
    return found


def _index(mountpoint: str) -> str:
    """Return the number of a device: 1 for ``/dev/xvdb``."""
    letter = mountpoint[-1:]
    return str(ord(letter) - ord('a')) if letter.isalpha() else ''
