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
import typing as ty

import testtools

from nova_accel_tempest.tests import offers


class _Providers:
    """What tempest's client of resource providers answers."""

    def __init__(self, **inventories: tuple[int, int, int]) -> None:
        self._inventories = inventories
        self.asked: dict[str, str] = {}
        self.read: list[str] = []

    def list_resource_providers(self, **query: str) -> dict[str, ty.Any]:
        self.asked = query
        return {
            'resource_providers': [
                {'uuid': name, 'name': name, 'root_provider_uuid': 'root'}
                for name in self._inventories
            ]
        }

    def list_resource_provider_inventories(
        self, uuid: str
    ) -> dict[str, ty.Any]:
        self.read.append(uuid)
        total, reserved, _used = self._inventories[uuid]
        record = {'total': total, 'reserved': reserved}
        rc = 'CUSTOM_B' if uuid == 'other' else 'VGPU'
        return {'inventories': {rc: record}}

    def list_resource_provider_usages(self, uuid: str) -> dict[str, ty.Any]:
        rc = 'CUSTOM_B' if uuid == 'other' else 'VGPU'
        return {'usages': {rc: self._inventories[uuid][2]}}

    def list_resource_provider_traits(self, uuid: str) -> dict[str, ty.Any]:
        return {'traits': ['OWNER_NOVA']}


class OffersTest(testtools.TestCase):
    def test_only_ours_are_asked_for(self) -> None:
        client = _Providers()
        offers.Offers(client).read()
        self.assertEqual({'required': 'CUSTOM_ACCEL_MANAGED'}, client.asked)

    def test_a_class_is_read_from_those_that_had_it(self) -> None:
        client = _Providers(card=(4, 1, 2), gone=(2, 2, 0), other=(1, 0, 0))
        source = offers.Offers(client)
        self.assertEqual(3, len(source.read('VGPU')))
        client.read.clear()
        found = source.read('VGPU')
        self.assertEqual(['card', 'gone'], [p.uuid for p in found])
        self.assertEqual(['card', 'gone'], client.read)
        self.assertEqual({'card', 'gone', 'other'}, source.uuids())

    def test_reserved_units_are_out_of_service(self) -> None:
        (card,) = offers.Offers(_Providers(card=(4, 1, 2))).read()
        self.assertEqual({'VGPU': 3}, card.total)
        self.assertEqual({'VGPU': 1}, card.free)
        self.assertEqual(frozenset({'OWNER_NOVA'}), card.traits)

    def test_a_class_without_a_unit_in_service_is_not_offered(self) -> None:
        found = offers.Offers(_Providers(a=(2, 2, 0), b=(2, 0, 2))).read()
        self.assertEqual(
            {'VGPU': ['b']},
            {
                rc: [p.name for p in providers]
                for rc, providers in offers.by_class(found).items()
            },
        )

    def test_free_in_the_whole_cloud(self) -> None:
        found = offers.Offers(_Providers(a=(4, 1, 1), b=(2, 0, 0))).read()
        self.assertEqual(4, offers.free(found, 'VGPU'))
        self.assertEqual(0, offers.free(found, 'CUSTOM_A100'))
