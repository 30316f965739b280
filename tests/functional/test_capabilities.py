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
"""Capabilities from the node to the scheduler, and images that ask."""

import copy
import json
import typing as ty
from unittest import mock

from nova.db.main import api as db
from nova.db.main import models
from nova import objects
from nova.scheduler import request_filter
from nova import test
from oslo_utils import uuidutils
from sqlalchemy.dialects import mysql

from nova_accel.core import naming
from nova_accel.objects import publication
from nova_accel.scheduler import request
from nova_accel.testing import cloud

from tests.functional import rules

# One card that takes either model, and its neighbour stays unlisted.
DYNAMIC = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {address: "0000:18:00.0"}
    mode: dynamic
    models: [GRID T4-8Q, GRID T4-16Q]
"""
# Two cards of different models under one class.
TWO_MODELS = """
version: 1
devices:
  small:
    kind: vgpu
    match: {address: "0000:18:00.0"}
    models: [GRID T4-8Q]
  large:
    kind: vgpu
    match: {address: "0000:af:00.0"}
    models: [GRID T4-16Q]
"""
CLASS_8Q = 'CUSTOM_VGPU_GRID_T4_8Q'
CLASS_16Q = 'CUSTOM_VGPU_GRID_T4_16Q'
MODEL_8Q = 'CUSTOM_ACCEL_MODEL_GRID_T4_8Q'
MODEL_16Q = 'CUSTOM_ACCEL_MODEL_GRID_T4_16Q'

NO_HOST = 'No valid host was found. '


class Cloud(cloud.CloudTestCase):
    def node(self, host: str = 'host1') -> objects.ComputeNode:
        return objects.ComputeNode.get_by_host_and_nodename(
            self.context, host, host
        )

    def publish(self, value: str, host: str = 'host1') -> None:
        """Let a host have published something else."""
        node = self.node(host)
        node.stats = {**node.stats, publication.KEY: value}
        node.save()

    def types(self, server: dict[str, ty.Any]) -> list[str]:
        """vGPU types that a server holds."""
        return [
            naming.UnitId.parse(claim.unit).part
            for claim in self.claims(server)
        ]


class PublishTest(Cloud):
    def test_compute_node_record_tells_models_and_cards(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        self.assertEqual([2, 2], self._free())
        server = self.boot(self.flavor(resources__VGPU=1))
        self.run_periodic()
        self.assertEqual([1, 2], self._free())
        self._delete_server(server)
        self.run_periodic()
        self.assertEqual([2, 2], self._free())

    def _free(self) -> list[int]:
        found = publication.load(self.node().stats)
        assert found is not None
        (model,) = found.models
        self.assertEqual(
            ('GRID T4-8Q', 'VGPU', '10de', 4),
            (model.name, model.resource_class, model.vendor_id, model.total),
        )
        self.assertEqual(
            set(self.accel_providers('host1').values()),
            {card.provider for card in found.cards},
        )
        free = sorted(card.free['VGPU'] for card in found.cards)
        self.assertEqual(sum(free), model.free)
        return free

    def test_quiet_host_makes_them_once(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        accel = self.computes['host1'].driver.accel
        # Placement now remembers which device is which.
        self.run_periodic()
        before = accel.capabilities()
        self.run_periodic()
        self.assertIs(before, accel.capabilities())
        self.boot(self.flavor(resources__VGPU=1))
        self.assertIsNot(before, accel.capabilities())

    def test_column_holds_what_is_written(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        row = db.compute_node_get(self.context, self.node().id)
        self.assertIn(publication.KEY, json.loads(row['stats']))
        self.assertLess(len(row['stats'].encode()), publication.LIMIT)

    def test_what_nova_counts_takes_room_from_ours(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        stats = self.computes['host1'].manager.rt.stats['host1']
        stats.update({f'num_proj_{n:032x}': 1 for n in range(640)})
        resources = self.computes['host1'].driver.get_available_resource(
            'host1'
        )
        self.assertLess(
            len(json.dumps({**stats, **resources['stats']})),
            publication.LIMIT,
        )
        found = publication.load(resources['stats'])
        assert found is not None
        self.assertEqual([], found.cards)

    def test_host_without_rules_publishes_nothing(self) -> None:
        self.start_host('host1', 't4', 'version: 1\ndevices: {}\n')
        self.assertNotIn(publication.KEY, self.node().stats)


class ColumnTest(test.NoDBTestCase):
    """What SQLite hides: the column's length on MySQL and MariaDB."""

    def test_limit_is_half_of_the_column(self) -> None:
        kind = models.ComputeNode.__table__.c.stats.type
        self.assertEqual(
            'TEXT',
            kind.compile(dialect=mysql.dialect()),
            'compute_nodes.stats changed its type: see LIMIT in '
            'nova_accel/objects/publication.py',
        )
        # A TEXT without a length holds 65,535 bytes there.
        self.assertLessEqual(2 * publication.LIMIT, 65_535 + 1)


class FilterTest(Cloud):
    """Its provider looks free, and the card cannot serve the model."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', DYNAMIC)
        # The card has both traits, so that Placement sees no contradiction.
        self.wrong_class = self.flavor(
            **{
                f'resources1__{CLASS_16Q}': 1,
                f'trait1__{MODEL_8Q}': 'required',
            }
        )

    def test_class_gives_another_model_than_the_trait(self) -> None:
        path = (
            '/allocation_candidates?resources=VCPU:1'
            f'&resources1={CLASS_16Q}:1&required1={MODEL_8Q}'
        )
        found = self.placement.get(path, version='1.36').body
        self.assertEqual(1, len(found['allocation_requests']))
        with self._claims('host1') as claims:
            message = self.refused(self.wrong_class)
        self.assertEqual(
            NO_HOST + 'There are not enough hosts available.', message
        )
        claims.assert_not_called()

    def _claims(self, host: str) -> ty.Any:
        accel = self.computes[host].driver.accel
        return mock.patch.object(accel, 'claim', wraps=accel.claim)

    def test_what_a_node_does_not_tell_does_not_matter(self) -> None:
        """The host passes, and gives what the class says."""
        for published in (
            self._written_by('1.0'),
            self._written_by('2.0'),
            '',
            '{',
            'null',
            '[' * 9000,
        ):
            self.publish(published)
            server = self.boot(self.wrong_class)
            self.assertEqual(['nvidia-234'], self.types(server), published)
            self._delete_server(server)

    def test_newer_node_is_understood(self) -> None:
        self.publish(self._written_by('1.9'))
        self.assertIn(NO_HOST, self.refused(self.wrong_class))

    def _written_by(self, version: str) -> str:
        found = publication.load(self.node().stats)
        assert found is not None
        primitive = found.obj_to_primitive('1.0' if version == '1.0' else None)
        primitive['accel.version'] = version
        primitive['accel.data']['added_later'] = {'x': 1}
        return json.dumps(primitive)


class HeldTest(Cloud):
    """A card that takes one model at a time holds another one."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', DYNAMIC)
        self.small = self.boot(self.flavor(**{f'resources__{CLASS_8Q}': 1}))
        self.run_periodic()
        self._unreserve()
        self.large = self.flavor(**{f'resources__{CLASS_16Q}': 1})

    def _unreserve(self) -> None:
        """As if Placement had not been told yet what the claim excludes."""
        (uuid,) = self.accel_providers('host1').values()
        records = copy.deepcopy(self._get_provider_inventory(uuid))
        for record in records.values():
            record['reserved'] = 0
        provider = self._get_resource_provider_by_uuid(uuid)
        self._update_inventory(
            uuid,
            {
                'resource_provider_generation': provider['generation'],
                'inventories': records,
            },
        )
        (classes,) = self.inventories('host1').values()
        self.assertEqual({CLASS_8Q: (2, 0), CLASS_16Q: (1, 0)}, classes)

    def test_host_is_dropped(self) -> None:
        self.start_host('host2', 't4')
        accel = self.computes['host1'].driver.accel
        with mock.patch.object(accel, 'claim', wraps=accel.claim) as claims:
            server = self.boot(self.large)
            self.assertIn(NO_HOST, self.refused(self.large))
        self.assertEqual('host2', self.host_of(server))
        # Nothing else can be asked of a Placement that was told wrong.
        claims.assert_not_called()

    def test_same_model_still_fits(self) -> None:
        server = self.boot(self.flavor(**{f'resources__{CLASS_8Q}': 1}))
        self.assertEqual('host1', self.host_of(server))

    def test_stale_news_keep_no_card_from_use(self) -> None:
        stale = self.node().stats[publication.KEY]
        self._delete_server(self.small)
        self.publish(stale)
        server = self.boot(self.large)
        self.assertEqual('host1', self.host_of(server))
        self.assert_invariants()


class ImageTest(Cloud):
    """An image names the model it needs."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', TWO_MODELS)

    def _image(self, *traits: str) -> str:
        image = self.glance.create(
            None,
            {
                'id': uuidutils.generate_uuid(),
                'name': 'desktop',
                'container_format': 'bare',
                'disk_format': 'raw',
                'min_ram': 0,
                'min_disk': 0,
                'properties': {f'trait:{name}': 'required' for name in traits},
            },
        )
        return ty.cast(str, image['id'])

    def test_image_chooses_among_models(self) -> None:
        flavor = self.flavor(resources__VGPU=1)
        for trait, type_id in (
            (MODEL_16Q, 'nvidia-234'),
            (MODEL_8Q, 'nvidia-233'),
        ):
            server = self.boot(flavor, image_uuid=self._image(trait))
            self.assertEqual([type_id], self.types(server))
        # The only one of its kind is taken, the other card is free.
        image = self._image(MODEL_16Q)
        self.assertIn(NO_HOST, self.refused(flavor, image_uuid=image))

    def test_refusals_reach_the_user(self) -> None:
        for specs, reason in (
            (
                {},
                f'image desktop requires {MODEL_8Q}, but flavor {{}} asks for '
                'no vGPU: use a flavor with resources:VGPU=1 or the class of '
                'that model',
            ),
            # Its trait exists here: so the class is that of a model.
            (
                {f'resources__{CLASS_16Q}': 1},
                f'image desktop requires {MODEL_8Q}, but flavor {{}} asks for '
                f'{CLASS_16Q}, which is another model',
            ),
            (
                {'resources1__VGPU': 1},
                f'set trait1:{MODEL_8Q}=required on flavor {{}}: image '
                'desktop requires it, and without that Placement looks for '
                'it outside of the group',
            ),
        ):
            self.assertEqual(
                f'{NO_HOST}Scheduling failed: {reason}',
                self._refused(specs, MODEL_8Q),
            )

    def _refused(self, specs: dict[str, ty.Any], *traits: str) -> str:
        """The fault's message, the flavor's name taken out."""
        flavor = self.flavor(**specs)
        name = self.api.get_flavor(flavor)['name']
        message = self.refused(flavor, image_uuid=self._image(*traits))
        self.assertLess(len(message), 255)
        return message.replace(name, '{}')

    def test_group_that_says_the_model(self) -> None:
        flavor = self.flavor(
            **{
                'resources1__VGPU': 1,
                f'trait1__{MODEL_16Q}': 'required',
            }
        )
        image = self._image(MODEL_16Q)
        server = self.boot(flavor, image_uuid=image)
        self.assertEqual(['nvidia-234'], self.types(server))
        # What the scheduler settled for itself is written nowhere.
        spec = objects.RequestSpec.get_by_instance_uuid(
            self.context, server['id']
        )
        self.assertEqual([MODEL_16Q], spec.image.properties.traits_required)

    def test_group_would_not_do_without_the_request_filter(self) -> None:
        flavor = self.flavor(
            **{
                'resources1__VGPU': 1,
                f'trait1__{MODEL_16Q}': 'required',
            }
        )
        others = [
            each
            for each in request_filter.ALL_REQUEST_FILTERS
            if each is not request.accel_request_filter
        ]
        with mock.patch.object(request_filter, 'ALL_REQUEST_FILTERS', others):
            self.assertEqual(
                NO_HOST,
                self.refused(flavor, image_uuid=self._image(MODEL_16Q)),
            )
