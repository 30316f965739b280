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

_ISCSI = 'iscsi'
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

        What was begun before is taken up.

        :raises VolumeAttachFailed: it is of a kind that cannot be had, or
            another machine has it.
        """
        _check_kind(connection)
        volume, data = _data(connection)
        begun = next(iter(self._disks(vm, volume)), None)
        if begun is not None and begun.attached:
            return
        with contextlib.ExitStack() as undo:
            sr = self._connect(volume, data, undo)
            vdi = self._disk(sr, data, volume)
            self._check_free(vdi, volume)
            if begun is not None:
                vbd = begun.vbd
            else:
                vbd = self._insert(vm, vdi, volume, mountpoint, boot)
            undo.callback(self._store.detach, vbd)
            if running:
                self._xapi.call('Async.VBD.plug', vbd)
            undo.pop_all()

    def detach(self, vm: str | None, connection: Connection) -> None:
        """Take a volume from a machine, and its repository away. Idempotent.

        Of a kind that cannot be had, there is nothing to take away.

        :param vm: None: the machine is gone already.
        """
        if not _is_known(connection):
            return
        volume, data = _data(connection)
        for disk in self._disks(vm, volume) if vm is not None else ():
            if disk.attached:
                self._xapi.call('Async.VBD.unplug', disk.vbd)
            self._store.detach(disk.vbd)
        self._disconnect(_uuid(data))

    def _disks(self, vm: str, volume: str) -> list[disks.Disk]:
        """Return what a machine has of a volume: one, or nothing."""
        return [
            disk
            for disk in self._store.of(vm)
            if disk.purpose == disks.VOLUME
            and self._xapi.call('VBD.get_other_config', disk.vbd).get(_VOLUME)
            == volume
        ]

    def _insert(
        self, vm: str, vdi: str, volume: str, mountpoint: str, boot: bool
    ) -> str:
        return self._store.attach(
            vm,
            vdi,
            self._device(vm, mountpoint),
            bootable=boot,
            config={_VOLUME: volume, marks.PURPOSE: disks.VOLUME},
        )

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
                    _ISCSI,
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
            if self._is_here(ref):
                plugged = self._xapi.call('PBD.get_currently_attached', ref)
                return ref, bool(plugged)
        return None, False

    def _is_here(self, pbd: str) -> bool:
        host = self._xapi.call('PBD.get_host', pbd)
        return bool(host == self._machines.host)

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

    def _check_free(self, vdi: str, volume: str) -> None:
        """See that no machine has a volume that is running for XAPI."""
        for vbd in self._xapi.call('VDI.get_VBDs', vdi):
            if self._xapi.call('VBD.get_currently_attached', vbd):
                vm = self._xapi.call('VBD.get_VM', vbd)
                number = self._xapi.call('VM.get_uuid', vm)
                raise nova_exception.VolumeAttachFailed(
                    volume_id=volume,
                    # Short, as what nova keeps of a fault is.
                    reason=f'virtual machine {number} has it. If its host is '
                    f'down: xe vm-reset-powerstate uuid={number} --force',
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
        """Let go of a target that no server of this host uses. Idempotent.

        Another host may use it while a server is evacuated: then it alone
        keeps its connection, and the repository.
        """
        sr = self._known(sr_uuid)
        if sr is None:
            return
        users = self._users(sr)
        if users.intersection(self._machines.references()):
            return
        with contextlib.suppress(exception.XapiGone):
            for pbd in self._xapi.call('SR.get_PBDs', sr):
                if not users or self._is_here(pbd):
                    self._xapi.call('Async.PBD.unplug', pbd)
                    self._xapi.call('PBD.destroy', pbd)
            if not users:
                self._xapi.call('SR.forget', sr)

    def _users(self, sr: str) -> set[str]:
        """Machines that have a disk of a repository, by their references."""
        return {
            str(self._xapi.call('VBD.get_VM', vbd))
            for vdi in self._xapi.call('SR.get_VDIs', sr)
            for vbd in self._xapi.call('VDI.get_VBDs', vdi)
        }


def _data(connection: Connection) -> tuple[str, Connection]:
    data = connection.get('data') or {}
    volume = str(
        connection.get('serial') or data.get('volume_id') or 'unknown'
    )
    return volume, data


def _is_known(connection: Connection) -> bool:
    return connection.get('driver_volume_type') == _ISCSI


def _check_kind(connection: Connection) -> None:
    volume, data = _data(connection)
    if not _is_known(connection):
        reason = (
            f'it comes by {connection.get("driver_volume_type")}, and this '
            f'driver takes iscsi only'
        )
    elif data.get('encrypted'):
        reason = 'it is encrypted, and XAPI would show its server ciphertext'
    else:
        return
    raise nova_exception.VolumeAttachFailed(volume_id=volume, reason=reason)


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
