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
"""Two hosts of one pool: who sees what, who is master, who is logged in."""

import urllib.error

import XenAPI

from tests.unit.testing.xapi_simulator import common


class _TwoHostsTestCase(common.PoolTestCase):
    TOPOLOGY = 'two-hosts'

    def vdi(self, size=8 * common.MIB, sr='shared', **changes):
        return super().vdi(size, self.one('SR', name_label=sr), **changes)


class HostsTest(_TwoHostsTestCase):
    def test_group_spans_the_pool(self):
        """Its figure is of no use to one host."""
        group, model = self.group('GRID K1]'), self.type('GRID K180Q')
        self.assertEqual(
            '7', self.api.GPU_group.get_remaining_capacity(group, model)
        )
        left = {'xen1': 0, 'xen2': 0}
        for pgpu in self.api.GPU_group.get_PGPUs(group):
            host = self.api.host.get_name_label(self.api.PGPU.get_host(pgpu))
            left[host] += int(
                self.api.PGPU.get_remaining_capacity(pgpu, model)
            )
        self.assertEqual({'xen1': 3, 'xen2': 4}, left)

    def test_gpu_of_the_other_host(self):
        vm = self.vm()
        group = self.group('K2')
        self.vgpu(vm, 'GRID K240Q', group='K2')
        details = self.refused('VM_REQUIRES_VGPU', self.start, vm)
        self.assertEqual([vm, group, self.type('GRID K240Q')], details)
        self.start(vm, self.host('xen2'))

    def test_disk_of_the_other_host(self):
        vm = self.vm()
        self.vbd(vm, self.vdi(sr='local2'))
        details = self.refused('VM_REQUIRES_SR', self.start, vm)
        self.assertEqual([vm, self.one('SR', name_label='local2')], details)
        self.start(vm, self.host('xen2'))

    def test_network_of_the_other_host(self):
        vm = self.vm()
        self.vif(vm, 'only-xen2')
        details = self.refused('VM_REQUIRES_NETWORK', self.start, vm)
        network = self.one('network', name_label='only-xen2')
        self.assertEqual([vm, network], details)

    def test_internal_network_is_everywhere(self):
        for name in ('xen1', 'xen2'):
            vm = self.vm()
            self.vif(vm, 'internal')
            self.start(vm, self.host(name))

    def test_shared_disk_moves(self):
        vm = self.vm()
        self.vbd(vm, self.vdi())
        self.start(vm)
        self.api.VM.pool_migrate(vm, self.host('xen2'), {'live': 'true'})
        self.assertEqual(self.host('xen2'), self.api.VM.get_resident_on(vm))

    def test_dead_host(self):
        self.control('POST', 'host', host='xen2', live=False)
        self.refused('HOST_NOT_LIVE', self.start, self.vm(), self.host('xen2'))
        metrics = self.api.host.get_metrics(self.host('xen2'))
        self.assertFalse(self.api.host_metrics.get_live(metrics))

    def test_what_a_host_comes_with(self):
        """A control domain and templates, which are no servers."""
        dom0 = self.all('VM', is_control_domain=True)
        self.assertEqual(2, len(dom0))
        self.assertEqual(2, len(self.all('VM', name_label='theirs-1')) + 1)
        (template,) = self.all('VM', is_default_template=True)
        self.refused(
            'VM_CANNOT_DELETE_DEFAULT_TEMPLATE',
            self.api.VM.destroy,
            template,
        )


class MasterTest(_TwoHostsTestCase):
    def test_slave_names_the_master(self):
        slave = XenAPI.Session(self.simulator.urls['xen2'])
        self.addCleanup(slave('close'))
        details = self.refused(
            'HOST_IS_SLAVE',
            slave.xenapi.login_with_password,
            'root',
            'password',
        )
        self.assertEqual(['127.0.0.1'], details)

    def test_slave_refuses_every_call(self):
        slave = XenAPI.Session(self.simulator.urls['xen2'])
        self.addCleanup(slave('close'))
        slave._session = self.session.handle
        self.refused('HOST_IS_SLAVE', slave.xenapi.VM.get_all)

    def test_change(self):
        """Whoever was logged in at the old one is sent on."""
        answer = self.control('POST', 'master', host='xen2')
        self.assertEqual({'url': self.simulator.urls['xen2']}, answer)
        details = self.refused('HOST_IS_SLAVE', self.api.VM.get_all)
        self.assertEqual(['127.0.0.2'], details)
        other = self.log_in(answer['url'])
        self.assertEqual(
            'xen2',
            other.xenapi.host.get_name_label(
                other.xenapi.pool.get_master(other.xenapi.pool.get_all()[0])
            ),
        )

    def test_designate(self):
        self.api.pool.designate_new_master(self.host('xen2'))
        self.refused('HOST_IS_SLAVE', self.api.VM.get_all)

    def test_wrong_name(self):
        error = self.assertRaises(
            urllib.error.HTTPError,
            self.control,
            'POST',
            'master',
            host='xen3',
        )
        self.addCleanup(error.close)
        self.assertEqual(400, error.code)
        self.assertIn(b'xen1, xen2', error.read())


class NetworkTest(_TwoHostsTestCase):
    def test_vlan_on_every_host(self):
        network = self.api.network.create(
            {
                'name_label': 'vlan7',
                'name_description': '',
                'other_config': {},
            }
        )
        wire = self.one('network', name_label='pool-net0')
        pif = self.api.network.get_PIFs(wire)[0]
        made = self.api.pool.create_VLAN_from_PIF(pif, network, '7')
        self.assertEqual(
            sorted(made), sorted(self.api.network.get_PIFs(network))
        )
        self.assertEqual(['7', '7'], [self.api.PIF.get_VLAN(p) for p in made])
        self.refused(
            'PIF_VLAN_EXISTS',
            self.api.pool.create_VLAN_from_PIF,
            pif,
            network,
            '7',
        )
        self.refused(
            'VLAN_TAG_INVALID',
            self.api.pool.create_VLAN_from_PIF,
            pif,
            network,
            '4095',
        )
        self.refused('NETWORK_CONTAINS_PIF', self.api.network.destroy, network)
        for vlan in self.all('VLAN'):
            self.api.VLAN.destroy(vlan)
        self.api.network.destroy(network)
        self.assertEqual({}, self.control('GET', 'leftovers'))

    def test_vif(self):
        vm = self.vm()
        vif = self.vif(vm, MAC='02:00:00:00:00:01')
        self.assertEqual('02:00:00:00:00:01', self.api.VIF.get_MAC(vif))
        self.refused('DEVICE_ALREADY_EXISTS', self.vif, vm)
        self.refused('INVALID_DEVICE', self.vif, vm, device='7')
        self.refused('MAC_INVALID', self.vif, vm, device='1', MAC='no')
        self.assertEqual(
            list('123456'), self.api.VM.get_allowed_VIF_devices(vm)
        )
        self.refused('VM_BAD_POWER_STATE', self.api.VIF.plug, vif)
        self.start(vm)
        self.refused('DEVICE_ALREADY_ATTACHED', self.api.VIF.plug, vif)
        self.refused('OPERATION_NOT_ALLOWED', self.api.VIF.destroy, vif)
        self.api.VIF.unplug(vif)
        self.api.VIF.destroy(vif)
        late = self.vif(vm, 'only-xen2', device='3')
        self.refused('HOST_CANNOT_ATTACH_NETWORK', self.api.VIF.plug, late)
