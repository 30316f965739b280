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
"""Network interfaces on networks of XAPI, which does the VLAN.

A Neutron network stands for one of XAPI's by that one's ``other_config``, or
by the physical network and segment that Neutron tells.
"""

import collections.abc
import contextlib
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
from nova.network import neutron
from oslo_log import log as logging

from nova_accel.backends import xapi
from nova_accel import exception

LOG = logging.getLogger(__name__)

NEUTRON = 'neutron_network'
_PORT = 'nova_port'
_DEFAULT_MTU = 1500

Vif: ty.TypeAlias = collections.abc.Mapping[str, ty.Any]
Networks: ty.TypeAlias = collections.abc.Mapping[str, ty.Any]


class Vifs:
    """The network interfaces of servers.

    :param mapping: see ``[accel_xapi]network_map``.
    """

    def __init__(
        self,
        session: xapi.Session,
        mapping: collections.abc.Mapping[str, str],
    ) -> None:
        self._xapi = session
        self._mapping = mapping

    def create(
        self,
        context: nova_context.RequestContext,
        vm: str,
        vifs: collections.abc.Iterable[Vif],
    ) -> None:
        """Give a machine an interface for each port, in their order."""
        vifs = list(vifs)
        networks = self._networks() if vifs else {}
        for index, vif in enumerate(vifs):
            network = self.find(context, vif, networks)
            self._create(vm, str(index), vif, network)

    def _networks(self) -> Networks:
        return ty.cast(Networks, self._xapi.call('network.get_all_records'))

    def _create(self, vm: str, device: str, vif: Vif, network: str) -> str:
        meta = vif['network'].get('meta') or {}
        return str(
            self._xapi.call(
                'VIF.create',
                {
                    'device': device,
                    'network': network,
                    'VM': vm,
                    'MAC': vif['address'],
                    'MTU': int(meta.get('mtu') or _DEFAULT_MTU),
                    'other_config': {_PORT: vif['id']},
                    'qos_algorithm_type': '',
                    'qos_algorithm_params': {},
                    'locking_mode': 'network_default',
                    'ipv4_allowed': [],
                    'ipv6_allowed': [],
                },
            )
        )

    def find(
        self,
        context: nova_context.RequestContext,
        vif: Vif,
        networks: Networks,
    ) -> str:
        """Return XAPI's network for a port.

        :raises VirtualInterfacePlugException: nothing says which it is.
        """
        neutron_id = vif['network']['id']
        for ref, record in networks.items():
            if record['other_config'].get(NEUTRON) == neutron_id:
                return ref
        keys = self._keys(context, vif)
        for key in keys:
            wanted = self._mapping.get(key)
            if wanted is not None:
                return _named(wanted, networks)
        raise nova_exception.VirtualInterfacePlugException(
            f'no network of XAPI stands for Neutron network {neutron_id} '
            f'({" or ".join(keys) or "it has no physical network"}): set '
            f'[accel_xapi]network_map, or {NEUTRON} in the other_config of '
            f'a network of XAPI'
        )

    def _keys(
        self, context: nova_context.RequestContext, vif: Vif
    ) -> list[str]:
        """Return the keys of the map that may name a port's network.

        Neutron is asked where nova does not know enough. If it does not
        answer, no network is guessed: that might be another tenant's.
        """
        physical, segment = _told(vif)
        if not physical or (segment is None and self._is_cut(physical)):
            physical, segment = _asked(context, vif['network']['id'])
        if not physical:
            return []
        return [f'{physical}/{segment}', physical] if segment else [physical]

    def _is_cut(self, physical: str) -> bool:
        """Tell whether segments of a physical network are told apart."""
        return any(key.startswith(f'{physical}/') for key in self._mapping)

    def attach(
        self,
        context: nova_context.RequestContext,
        vm: str,
        vif: Vif,
        running: bool,
    ) -> None:
        """Give a machine one more interface; take it back if that fails."""
        free = self._xapi.call('VM.get_allowed_VIF_devices', vm)
        if not free:
            raise nova_exception.InterfaceAttachFailed(instance_uuid=vm)
        network = self.find(context, vif, self._networks())
        made = self._create(vm, free[0], vif, network)
        if running:
            try:
                self._xapi.call('Async.VIF.plug', made)
            except exception.AccelError:
                with contextlib.suppress(exception.AccelError):
                    self._xapi.call('VIF.destroy', made)
                raise

    def detach(self, vm: str, vif: Vif) -> None:
        """Take an interface from a machine. Idempotent."""
        for ref in self._xapi.call('VM.get_VIFs', vm):
            record = self._xapi.call('VIF.get_record', ref)
            if record['MAC'].lower() == vif['address'].lower():
                if record['currently_attached']:
                    self._xapi.call('Async.VIF.unplug', ref)
                self._xapi.call('VIF.destroy', ref)


_Place = tuple[str | None, object]


def _told(vif: Vif) -> _Place:
    """Physical network and segment, as far as the port's record says."""
    meta = vif['network'].get('meta') or {}
    return meta.get('physical_network'), (vif.get('details') or {}).get('vlan')


def _asked(context: nova_context.RequestContext, network_id: str) -> _Place:
    """Physical network and segment, by asking Neutron."""
    try:
        client = neutron.get_client(context, admin=True)
        found = client.show_network(network_id)['network']
    except Exception as error:
        LOG.warning('Neutron does not tell of %s: %s', network_id, error)
        return None, None
    return (
        found.get('provider:physical_network'),
        found.get('provider:segmentation_id'),
    )


def _named(wanted: str, networks: Networks) -> str:
    found = [
        ref
        for ref, record in networks.items()
        if wanted in (record['uuid'], record['name_label'])
    ]
    if len(found) != 1:
        raise nova_exception.VirtualInterfacePlugException(
            f'XAPI has {len(found)} networks named {wanted!r}, which '
            f'[accel_xapi]network_map names'
        )
    return found[0]
