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
"""nova-compute with our driver, inside the machine."""

import json
import shlex
import signal
import typing as ty

from tests.lab.harness import cloud
from tests.lab.harness import errors
from tests.lab.harness import machine
from tests.lab.harness import process
from tests.lab.harness import settings

LOG = f'{machine.OUT}/nova-compute.log'
INSTANCES = '/var/lib/nova/instances'
_CONF = '/etc/nova/nova.conf'
_WHITELIST_FILE = '/etc/nova/accel.yaml'
_PRINTED = '/run/nova-accel-device'
_PID = '/run/nova-compute.pid'
_FORK = '/usr/bin/python3 -S -E /lab/fork.py'
# Loading nova over 9p under emulation takes its time on a loaded machine.
_START_TIMEOUT = 240

WHITELIST = """\
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
  a40:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "2235"}
    models: [NVIDIA A40-24Q]
    resource_class: CUSTOM_A40_24Q
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b5"}
    resource_class: CUSTOM_A100
  nvme-vf:
    kind: pci
    match: {vendor_id: "1b36", product_id: "0010", dev_type: type-VF}
    resource_class: CUSTOM_NVME_VF
"""


class Compute:
    """The service: configured, started, killed."""

    def __init__(
        self,
        lab: settings.Settings,
        box: machine.Machine,
        control: cloud.Cloud,
    ) -> None:
        self._lab = lab
        self._box = box
        self._cloud = control

    def configure(self, whitelist: str = WHITELIST) -> None:
        agent = self._box.agent
        agent.write(_CONF, cloud.ini(self._options()))
        agent.write(_WHITELIST_FILE, whitelist)
        agent.check(f'mkdir -p {INSTANCES} /var/lib/nova/lock')

    def start(self, fault: str = '') -> None:
        """Start it, with one fault of ``harness.faults`` if named."""
        # Emulated, an interpreter takes ten seconds to compile them.
        sources = [settings.REPOSITORY / 'nova_accel', settings.LAB]
        process.run(
            *(self._lab.tool('python'), '-m', 'compileall', '-q'),
            *map(str, sources),
        )
        entry = f'tests.lab.harness.launcher:main {fault or "-"}'
        # The configuration of the last start may differ: one log for all.
        pid = self._box.agent.check(
            f'cd /root; export HOME=/root PYTHONDONTWRITEBYTECODE=1\n'
            f'export PATH=/lab/bin:{self._lab.venv}/bin:$PATH\n'
            f'until [ -e /run/zygote ]; do sleep 0.3; done\n'
            f'{_FORK} {LOG} {entry} --config-file {_CONF}',
            timeout=_START_TIMEOUT,
        )
        self._box.agent.check(f'echo {pid.strip()} > {_PID}')

    def signal(self, number: signal.Signals) -> None:
        self._box.agent.check(f'kill -{int(number)} $(cat {_PID})')

    @property
    def alive(self) -> bool:
        return self._box.agent.run(f'kill -0 $(cat {_PID})').code == 0

    def stop(self) -> None:
        """Ask it to end, as an init system does, and wait."""
        self.signal(signal.SIGTERM)
        process.wait_for('end of nova-compute', lambda: not self.alive, 90)

    def kill(self) -> None:
        """End it without a chance to clean up; privsep goes with it."""
        self._box.agent.check(f'kill -9 -- -$(ps -o pgid= $(cat {_PID}))')

    def reload(self, whitelist: str) -> None:
        """Change the file of a running nova-compute and tell it so."""
        self._box.agent.write(_WHITELIST_FILE, whitelist)
        self.signal(signal.SIGHUP)

    def device(self, *words: str, code: int = 0) -> dict[str, ty.Any]:
        """Run ``nova-accel device`` on the host; return what it printed.

        :param code: with which it must end.
        """
        agent = self._box.agent
        agent.check(f'rm -f {_PRINTED}')
        told = agent.run(
            f'cd /root; export HOME=/root PYTHONDONTWRITEBYTECODE=1\n'
            f'export PATH=/lab/bin:{self._lab.venv}/bin:$PATH\n'
            f'{_FORK} --wait {_PRINTED} nova_accel.cli.main:main device '
            f'{shlex.join(words)} -f json --nova-conf {_CONF}',
            timeout=_START_TIMEOUT,
        )
        printed = agent.check(f'cat {_PRINTED}')
        if told.code != code:
            raise errors.LabError(
                f'nova-accel device {words} ended with {told.code}: {printed}'
            )
        # What it complains about comes before or after the document.
        document = printed[printed.find('{\n') : printed.rfind('}') + 1]
        return ty.cast(dict[str, ty.Any], json.loads(document or '{}'))

    def log(self) -> str:
        path = self._box.out / 'nova-compute.log'
        return path.read_text(errors='replace') if path.exists() else ''

    def calls(self) -> int:
        """Return how many round trips to libvirt it made since its start."""
        printed = self._box.agent.run(f'od -An -t u8 {settings.CALLS}').output
        return int(printed) if printed.strip().isdigit() else 0

    def _options(self) -> dict[str, dict[str, object]]:
        helper = (
            f'{_FORK} --wait {LOG} oslo_privsep.daemon:helper_main'
            f' --config-file {_CONF}'
        )
        common = self._cloud.nova_common(cloud.HOST_FROM_INSIDE)
        return {
            **common,
            'DEFAULT': {
                **common['DEFAULT'],
                # Each line costs a hundredth of a second.
                'debug': 'false',
                'default_log_levels': 'nova_accel=DEBUG,nova.service=DEBUG',
                'host': self._box.name,
                'compute_driver': 'accel.LibvirtAccelDriver',
                'state_path': '/var/lib/nova',
                'my_ip': self._box.address,
                'force_raw_images': 'false',
                'resume_guests_state_on_host_boot': 'true',
                'shutdown_timeout': 3,
                'update_resources_interval': settings.UPDATE_INTERVAL,
                'service_down_time': 30,
                # It is up when it has reported once.
                'report_interval': 2,
                'reserved_host_memory_mb': 256,
            },
            'oslo_concurrency': {'lock_path': '/var/lib/nova/lock'},
            'libvirt': {
                'virt_type': 'qemu',
                'cpu_mode': 'none',
                'hw_machine_type': 'x86_64=q35',
                'num_pcie_ports': 10,
                'images_type': 'raw',
                # the tiny guest does not listen to the power button
                'wait_soft_reboot_seconds': 3,
            },
            'nova_sys_admin': {'helper_command': helper},
            'privsep_osbrick': {'helper_command': helper},
            'vif_plug_ovs_privileged': {'helper_command': helper},
            'vif_plug_linux_bridge_privileged': {'helper_command': helper},
            'accel': {'config': _WHITELIST_FILE},
        }
