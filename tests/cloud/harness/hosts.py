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
"""nova-compute: one on real libvirt and QEMU, the others made up."""

import dataclasses
import pathlib
import typing as ty

from tests.cloud.harness import conf
from tests.cloud.harness import hypervisor
from tests.cloud.harness import nest
from tests.cloud.harness import services
from tests.cloud.harness import settings
from tests.lab.harness import process

# What the whitelists below offer
CLASSES = (
    *('CUSTOM_A100', 'CUSTOM_A100_CARD', 'CUSTOM_M60_2Q'),
    *('CUSTOM_NIC_VF', 'CUSTOM_NVME', 'CUSTOM_VGPU_GRID_T4_8Q', 'VGPU'),
)
# Those whose host boots raw images only and has guests without a console
XEN_CLASSES = ('CUSTOM_VGPU_GRID_T4_8Q',)
# Trait of a host that has no real guests; servers must ask for it.
TRAIT = 'CUSTOM_SYNTHETIC_HOST'
REAL, BROKEN, SILENT = 'real', 'broken', 'silent'


@dataclasses.dataclass(frozen=True)
class About:
    """One host.

    :ivar node: file of ``nova_accel.testing.nodes``; '': this machine.
    :ivar pool: topology of the XAPI simulator; '': libvirt.
    """

    name: str
    node: str = ''
    pool: str = ''

    @property
    def rules(self) -> pathlib.Path:
        """The file of the whitelist."""
        return _RULES / f'{self.name}.yaml'

    @property
    def made_up(self) -> bool:
        """Whether its guests are; servers must ask for its trait."""
        return bool(self.node or self.pool)

    def driver(self, kind: str) -> str:
        """As nova's ``compute_driver``."""
        return _DRIVERS[bool(self.pool)][kind]


_DRIVERS = {
    False: {
        REAL: 'accel.LibvirtAccelDriver',
        BROKEN: 'accel.BrokenDriver',
        SILENT: 'accel.SilentDriver',
    },
    True: {
        REAL: 'accel.XenAPIAccelDriver',
        BROKEN: 'accel.BrokenXenAPIDriver',
        SILENT: 'accel.SilentDriver',
    },
}
_RULES = settings.REPOSITORY / 'tests' / 'cloud' / 'rules'
HOSTS = {
    about.name: about
    for about in (
        About(conf.SWITCHED),
        About('gpu1', node='mixed'),
        About('gpu2', node='a100'),
        About('xen1', pool='t4'),
    )
}
MADE_UP = tuple(name for name, about in HOSTS.items() if about.made_up)
# Where faults are planted
SYNTHETIC = tuple(name for name, about in HOSTS.items() if about.node)

_PROVIDERS = """\
meta:
  schema_version: '1.0'
providers:
  - identification:
      uuid: $COMPUTE_NODE
    traits:
      additional: [%s]
"""


class Host:
    """One nova-compute."""

    def __init__(
        self,
        cloud: settings.Settings,
        control: services.Services,
        machine: hypervisor.Hypervisor,
        name: str,
    ) -> None:
        self.name = name
        self.about = HOSTS[name]
        self._cloud = cloud
        self._control = control
        self._machine = machine
        self.daemon = process.Daemon(f'compute-{name}', cloud.run / 'log')

    def start(self, kind: str = REAL, fault: str = '') -> None:
        """Start it.

        :param kind: of its driver: one that works, or one of the others.
        :param fault: one of ``faults``, to plant in the driver.
        """
        file = self._configure(kind)
        words = [
            *(
                self._cloud.tool('python'),
                '-m',
                'tests.cloud.harness.launcher',
            ),
            *(fault or '-', self.name, self.about.node or '-'),
            *('--config-file', str(file)),
        ]
        self._control.launch(self.daemon, words, nest.NOVA)

    def _configure(self, kind: str) -> pathlib.Path:
        folder = self._cloud.run / self.name
        providers = folder / 'providers'
        providers.mkdir(parents=True, exist_ok=True)
        (providers / 'host.yaml').unlink(missing_ok=True)
        # A driver without a node has none to describe.
        if self.about.made_up and kind != SILENT:
            (providers / 'host.yaml').write_text(_PROVIDERS % TRAIT)
        # A copy: nova-compute reads only files that are root's own.
        rules = folder / 'accel.yaml'
        rules.write_text(self.about.rules.read_text())
        (self._cloud.run / 'instances').mkdir(exist_ok=True)
        more: dict[str, dict[str, ty.Any]] = {
            'accel': {'config': rules},
            'libvirt': self._libvirt(),
        }
        if self.about.pool:
            more['accel_xapi'] = {
                'connection_url': self._cloud.url('xapi'),
                'connection_password': 'password',
                'host': self.name,
            }
        driver = self.about.driver(kind)
        return self._control.conf.compute(self.name, driver, more)

    def _libvirt(self) -> dict[str, ty.Any]:
        return {
            'virt_type': 'qemu',
            'cpu_mode': 'none',
            'images_type': 'raw',
            'hw_machine_type': 'x86_64=q35',
            'num_pcie_ports': 10,
            'connection_uri': '' if self.about.made_up else self._machine.uri,
            'live_migration_inbound_addr': '127.0.0.1',
            # the tiny guest does not listen to the power button
            'wait_soft_reboot_seconds': 2,
        }

    def stop(self) -> None:
        self.daemon.stop()
