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
"""SR: where disks are, and which host sees it."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL
ISCSI = 'iscsi'
KINDS = ('ext', 'lvm', 'nfs', 'lvmoiscsi', 'lvmohba', ISCSI, 'iso', 'udev')


def is_attached(store: stores.Store, sr: str, host: str = '') -> bool:
    """Whether a host, or any, has the SR plugged."""
    return any(
        store.get('PBD', pbd, 'currently_attached')
        and host in ('', store.get('PBD', pbd, 'host'))
        for pbd in store.get('SR', sr, 'PBDs')
    )


def check_usable(store: stores.Store, sr: str) -> None:
    """:raises Failure: no host can reach the SR."""
    if not store.get('SR', sr, 'PBDs'):
        raise failure.Failure('SR_HAS_NO_PBDS', sr)
    if not is_attached(store, sr):
        raise failure.Failure('SR_NOT_ATTACHED', sr)


def hosts(store: stores.Store, sr: str) -> list[str]:
    return [
        store.get('PBD', pbd, 'host')
        for pbd in store.get('SR', sr, 'PBDs')
        if store.get('PBD', pbd, 'currently_attached')
    ]


def account(store: stores.Store, sr: str) -> None:
    """Make the SR say what its disks take."""
    if not store.exists(sr):
        return
    vdis = store.get('SR', sr, 'VDIs')
    store.set(
        'SR',
        sr,
        virtual_allocation=_sum(store, vdis, 'virtual_size'),
        physical_utilisation=_sum(store, vdis, 'physical_utilisation'),
    )


def _sum(store: stores.Store, vdis: list[str], field: str) -> int:
    return sum(store.get('VDI', vdi, field) for vdi in vdis)


def check_space(store: stores.Store, sr: str, size: int) -> None:
    """:raises Failure: SR_FULL."""
    record = store.record('SR', sr)
    left = record['physical_size'] - record['physical_utilisation']
    if size > left:
        raise failure.Failure('SR_FULL', size, left)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise failure.Failure('SR_UNKNOWN_DRIVER', kind)


def introduce(
    call: world.Call,
    uuid: str,
    name_label: str,
    name_description: str,
    kind: str,
    content_type: str,
    shared: bool,
    sm_config: dict[str, str] | None = None,
) -> str:
    store = call.store
    _check_kind(kind)
    if store.find('SR', uuid=uuid):
        raise failure.Failure('SR_UUID_EXISTS', uuid)
    return store.create(
        'SR',
        uuid=uuid,
        name_label=name_label,
        name_description=name_description,
        type=kind,
        content_type=content_type,
        shared=shared,
        sm_config=sm_config or {},
    )


def create(
    call: world.Call,
    host: str,
    device_config: dict[str, str],
    physical_size: int,
    name_label: str,
    name_description: str,
    kind: str,
    content_type: str,
    shared: bool,
    sm_config: dict[str, str] | None = None,
) -> str:
    store = call.store
    _check_kind(kind)
    sr = store.create(
        'SR',
        name_label=name_label,
        name_description=name_description,
        type=kind,
        content_type=content_type,
        shared=shared,
        sm_config=sm_config or {},
        physical_size=physical_size,
    )
    for one in store.refs('host') if shared else [host]:
        store.create(
            'PBD',
            SR=sr,
            host=one,
            device_config=device_config,
            currently_attached=True,
        )
    return sr


def _check_unplugged(store: stores.Store, sr: str) -> None:
    if is_attached(store, sr):
        raise failure.Failure('SR_HAS_PBD', sr)


def forget(call: world.Call, sr: str) -> None:
    """Forget the SR and its disks; what is on them stays."""
    store = call.store
    _check_unplugged(store, sr)
    for cls, field in (('PBD', 'PBDs'), ('VDI', 'VDIs')):
        for ref in store.get('SR', sr, field):
            store.delete(cls, ref)
    store.delete('SR', sr)


def destroy(call: world.Call, sr: str) -> None:
    if call.store.get('SR', sr, 'VDIs'):
        raise failure.Failure('SR_NOT_EMPTY')
    forget(call, sr)


def scan(call: world.Call, sr: str) -> None:
    """Look for disks; an iSCSI SR has one a LUN."""
    store = call.store
    check_usable(store, sr)
    account(store, sr)
    if store.get('SR', sr, 'type') == ISCSI:
        for pbd in store.get('SR', sr, 'PBDs'):
            if store.get('PBD', pbd, 'currently_attached'):
                find_luns(call.world, sr, pbd)


def find_luns(one: world.World, sr: str, pbd: str) -> None:
    """Make a VDI for each LUN that has none."""
    store = one.store
    config = store.get('PBD', pbd, 'device_config')
    known = {
        store.get('VDI', vdi, 'location')
        for vdi in store.get('SR', sr, 'VDIs')
    }
    for lun in log_in(one, config).luns:
        wanted = config.get('LUNid', ''), config.get('SCSIid', '')
        if _fits(lun, *wanted) and lun.scsi_id not in known:
            store.create(
                'VDI',
                SR=sr,
                name_label=f'LUN {lun.number}',
                virtual_size=lun.size,
                physical_utilisation=lun.size,
                type='user',
                managed=True,
                location=lun.scsi_id,
                sm_config={
                    'LUNid': str(lun.number),
                    'SCSIid': lun.scsi_id,
                },
            )
    total = _sum(store, store.get('SR', sr, 'VDIs'), 'virtual_size')
    store.set('SR', sr, physical_size=total)
    account(store, sr)


def _fits(lun: world.Lun, number: str, scsi_id: str) -> bool:
    return number in ('', str(lun.number)) and scsi_id in ('', lun.scsi_id)


def log_in(one: world.World, config: dict[str, str]) -> world.Target:
    """Return the iSCSI target that a device_config names.

    :raises Failure: there is none, or it does not know the user.
    """
    portal = f'{config.get("target", "")}:{config.get("port", "3260")}'
    user = config.get('chapuser', ''), config.get('chappassword', '')
    for target in one.targets:
        if (portal, config.get('targetIQN', '')) == (
            target.portal,
            target.iqn,
        ):
            if user == (target.user, target.password):
                return target
            raise _backend(68, 'ISCSILogin', 'iSCSI login failed')
    raise _backend(141, 'ISCSITarget', 'Unable to connect to IQN at portal')


def _backend(status: int, name: str, text: str) -> failure.Failure:
    return failure.Failure('SR_BACKEND_FAILURE', status, name, text)


def get_supported_types(call: world.Call) -> list[str]:
    return list(KINDS)


MESSAGES: world.Messages = {
    'create': create,
    'destroy': destroy,
    'forget': forget,
    'get_supported_types': get_supported_types,
    'introduce': introduce,
    'scan': scan,
    'update': scan,
}
