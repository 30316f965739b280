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
"""A device comes to a guest that runs, and leaves it."""

import typing as ty
import uuid

from tests.lab.harness import process
from tests.lab.scenarios import base

# Nova-compute looks again every minute, should the event get lost.
_LATE = 150


class HotplugTest(base.Scenario):
    def start(self, **specs: str) -> str:
        limits = {
            f'accel_hotplug__max_{rc}': '2'
            for rc in ('VGPU', 'CUSTOM_A100', 'CUSTOM_NVME_VF')
        }
        server = self.boot(**limits, **specs)
        # It listens to hotplug from then on.
        self.guest_sees(server, '10de')
        return server

    def attach(self, server: str, resource_class: str) -> str:
        id_ = str(uuid.uuid4())
        with self.timed('attach'):
            answer = self.lab.cloud.attachments(
                'attach', server, id_, resource_class, '1'
            )
        self.assertIsNone(answer['failed'])
        (record,) = [a for a in answer['attachments'] if a['id'] == id_]
        self.assertEqual(('attached', ''), (record['state'], record['reason']))
        return id_

    def detach(self, server: str, id_: str, verb: str = 'detach') -> None:
        with self.timed(verb):
            answer = self.lab.cloud.attachments(verb, server, id_)
        self.assertIsNone(answer['failed'])

    def states(self, server: str) -> dict[str, str]:
        answer = self.lab.cloud.attachments('list', server)
        return {a['id']: a['state'] for a in answer['attachments']}

    def wait_detached(self, server: str, id_: str) -> None:
        process.wait_for(
            'detach', lambda: id_ not in self.states(server), _LATE, pause=2
        )

    def finish(self, server: str) -> None:
        self.delete(server)
        self.assert_all_free()

    def come_and_go(self, resource_class: str) -> None:
        server = self.start()
        id_ = self.attach(server, resource_class)
        self.assertEqual(1, self.hostdevs(server))
        self.assertEqual({resource_class: 1}, self.held(server))
        self.assertEqual(1, len(self.claimed(server)))
        process.wait_for(
            'guest that notices', lambda: self._plugged(server), 60, pause=1
        )
        self.detach(server, id_)
        self.wait_detached(server, id_)
        self.assertEqual(0, self.hostdevs(server))
        self.assertEqual({}, self.held(server))
        self.assertEqual([], self.claimed(server))
        self.assertEqual([], self.mdevs())
        self.finish(server)

    def _plugged(self, server: str) -> bool:
        return 'PLUG' in self.console(server)

    @base.core
    def test_vgpu(self) -> None:
        self.come_and_go('VGPU')

    def test_whole_gpu(self) -> None:
        self.come_and_go('CUSTOM_A100')

    def test_virtual_function(self) -> None:
        self.come_and_go('CUSTOM_NVME_VF')

    def test_late_and_never(self) -> None:
        """A guest that is paused answers nothing, and once it runs it does."""
        server = self.start()
        id_ = self.attach(server, 'VGPU')
        uuids = self.mdevs()
        self.pause(server)
        self.detach(server, id_)
        self.assert_waiting(server, id_, uuids)
        # Nor does a restart take it for free.
        self.lab.compute.kill()
        self.lab.host.restart_compute()
        self.assert_waiting(server, id_, uuids)
        self.nova.act(server, 'unpause')
        self.nova.wait_status(server, 'ACTIVE')
        with self.timed('late answer'):
            self.wait_detached(server, id_)
        self.assertEqual({}, self.held(server))
        self.assertEqual([], self.mdevs())
        self.finish(server)

    def pause(self, server: str) -> None:
        self.nova.act(server, 'pause')
        self.nova.wait_status(server, 'PAUSED')

    def assert_waiting(self, server: str, id_: str, uuids: list[str]) -> None:
        self.assertEqual({id_: 'detaching'}, self.states(server))
        self.assertEqual(1, self.hostdevs(server))
        self.assertEqual({'VGPU': 1}, self.held(server))
        self.assertEqual(1, len(self.claimed(server)))
        self.assertEqual(uuids, self.mdevs())

    def test_by_force(self) -> None:
        server = self.start()
        id_ = self.attach(server, 'VGPU')
        self.pause(server)
        self.detach(server, id_)
        self.assertEqual({id_: 'detaching'}, self.states(server))
        self.detach(server, id_, 'force')
        self.assertEqual({}, self.states(server))
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual(0, self.hostdevs(server))
        self.finish(server)

    def test_stays(self) -> None:
        server = self.start(**base.VGPU)
        id_ = self.attach(server, 'CUSTOM_A100')
        claimed = self.claimed(server)
        self.nova.act(server, 'reboot', type='HARD')
        self.nova.wait_status(server, 'ACTIVE')
        self.check_same(server, id_, claimed)
        self.lab.compute.stop()
        self.lab.host.restart_compute()
        self.check_same(server, id_, claimed)
        self.detach(server, id_)
        self.wait_detached(server, id_)
        self.assertEqual({'VGPU': 1}, self.held(server))
        self.finish(server)

    def check_same(
        self, server: str, id_: str, claimed: ty.Sequence[str]
    ) -> None:
        self.assertEqual({id_: 'attached'}, self.states(server))
        self.assertEqual(2, self.hostdevs(server))
        self.assertEqual(claimed, self.claimed(server))
        self.assertEqual({'VGPU': 1, 'CUSTOM_A100': 1}, self.held(server))

    def test_asked_for_again(self) -> None:
        """The same request again ends in the same place."""
        server = self.start()
        id_ = self.attach(server, 'VGPU')
        again = self.lab.cloud.attachments('attach', server, id_, 'VGPU', '1')
        self.assertIsNone(again['failed'])
        self.assertEqual([id_], [a['id'] for a in again['attachments']])
        self.assertEqual(1, len(self.claimed(server)))
        self.finish(server)
