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
"""What doctor prints, on facts that nobody had to be asked for.

To write the outputs in the documentation anew:
NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- test_doctor
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re

import testtools

from nova_accel.cli import doctor
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming

from tests.unit.cli import command
from tests.unit.cli import samples

FOLDER = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'cli'

WELL = '5a3c29b4-9f3e-4a0c-8d8e-6f9c1d4b7a01'
LACKING = '8c1f6e72-0b5d-4c36-9a5f-2d7e3b9c4f02'
DELETED = 'd94b0a37-6e21-4f88-b1c4-7a5e9f2d3c03'

CARDS = tuple(
    dataclasses.replace(
        samples.card(bus, models=(samples.T4_8Q,)),
        ids=(f'sn:13244190525{bus:02}',),
    )
    for bus in (1, 2)
)
RULES = """
version: 1
devices:
  desktops:
    kind: vgpu
    match: {vendor_id: "10de"}
    models: [GRID T4-8Q]
"""
OFFER = inventory.offer(samples.NODE, samples.rules(RULES), CARDS)
IDS = tuple(card.ids[0] for card in CARDS)
PROVIDERS = tuple(
    naming.provider_uuid(samples.NODE.uuid, stable_id) for stable_id in IDS
)


def slot(card: int, number: int) -> inventory.Claim:
    unit = f'{IDS[card]}/nvidia-233/{number}'
    return inventory.Claim(PROVIDERS[card], 'VGPU', unit)


def mdev(claim: inventory.Claim) -> str:
    return naming.mdev_uuid(claim.provider, claim.unit)


def server(uuid: str, claim: inventory.Claim) -> facts.Server:
    held = frozenset({claim})
    return facts.Server(uuid, frozenset({uuid}), held, held)


def healthy() -> facts.Facts:
    """Two servers, each with half a card, and what goes with it."""
    claims = {WELL: slot(0, 0), LACKING: slot(0, 1)}
    desired = inventory.desired(samples.NODE, OFFER, claims.values(), {})
    one = {'VGPU': 1}
    allocations = {PROVIDERS[0]: {WELL: one, LACKING: one}}
    return facts.Facts(
        node=samples.NODE,
        offer=OFFER,
        providers={
            each.uuid: facts.Placed(
                each.name,
                inventory.KnownProvider(
                    each.stable_id, each.inventories, each.traits
                ),
                allocations.get(each.uuid, {}),
            )
            for each in desired
        },
        servers=tuple(server(*item) for item in claims.items()),
        guests=tuple(
            device.Guest(uuid, True, frozenset({mdev(claim)}))
            for uuid, claim in claims.items()
        ),
        mdevs=frozenset(map(mdev, claims.values())),
        ours={mdev(claim): claim for claim in claims.values()},
    )


def ill() -> facts.Facts:
    """Three things went wrong."""
    found = healthy()
    second = dataclasses.replace(
        found.providers[PROVIDERS[1]], allocations={DELETED: {'VGPU': 1}}
    )
    loose = slot(1, 0)
    return dataclasses.replace(
        found,
        providers={**found.providers, PROVIDERS[1]: second},
        guests=(found.guests[0], device.Guest(LACKING, True)),
        mdevs=found.mdevs | {mdev(loose)},
        ours={**found.ours, mdev(loose): loose},
        fates={DELETED: facts.DELETED},
    )


def diagnosis(found: facts.Facts, *repaired: str) -> doctor.Diagnosis:
    """Diagnose; what is of these kinds has been repaired."""
    findings = invariant.check(found)
    outcomes = tuple(
        invariant.Outcome(
            each,
            each.kind in repaired,
            'it is gone' if each.kind in repaired else 'a server is affected',
        )
        for each in findings
        if repaired
    )
    return doctor.Diagnosis(found, findings, outcomes)


def shown(found: doctor.Diagnosis, form: str = 'table') -> tuple[int, str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = doctor.show(found, form)
    return code, printed.getvalue()


class TableTest(testtools.TestCase):
    def check(self, name: str, code: int, found: doctor.Diagnosis) -> None:
        """Compare with what the documentation shows."""
        result, printed = shown(found)
        self.assertEqual(code, result)
        path = FOLDER / f'{name}.out'
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(printed)
        self.assertEqual(path.read_text(), printed)

    def test_healthy(self) -> None:
        self.check('doctor-healthy', outcome.OK, diagnosis(healthy()))

    def test_findings(self) -> None:
        self.check('doctor', outcome.PROBLEM, diagnosis(ill()))

    def test_repaired(self) -> None:
        code, printed = shown(
            diagnosis(ill(), invariant.LOOSE, invariant.OF_DELETED)
        )
        self.assertEqual(outcome.PROBLEM, code)
        self.assertIn('3 findings, 2 repaired, 1 left.', printed)
        self.assertIn('Done: it is gone.', printed)
        self.assertIn('Left, since a server is affected. To do: ', printed)

    def test_all_repaired(self) -> None:
        found = diagnosis(ill(), *invariant.ADVICE)
        self.assertEqual(outcome.OK, shown(found)[0])


class ManualTest(testtools.TestCase):
    def test_every_finding_is_described(self) -> None:
        page = (FOLDER.parent / 'admin' / 'doctor.rst').read_text()
        described = re.findall(r'^   \* - ``([a-z-]+)``$', page, re.MULTILINE)
        self.assertEqual(list(invariant.ADVICE), described)


class JsonTest(testtools.TestCase):
    def test_findings(self) -> None:
        code, printed = shown(diagnosis(ill()), 'json')
        document = json.loads(printed)
        self.assertEqual((outcome.PROBLEM, False), (code, document['ok']))
        self.assertEqual(samples.NODE.name, document['node']['name'])
        self.assertEqual(
            {'servers': 2, 'providers': 2, 'guests': 2, 'mdevs': 3},
            document['seen'],
        )
        deleted, lacking, loose = document['findings']
        self.assertEqual(
            {
                'kind': 'allocation-of-deleted-server',
                'device': '',
                'server': DELETED,
                'provider': PROVIDERS[1],
                'provider_name': f'host1_accel_{IDS[1]}',
                'repair': None,
            },
            {k: v for k, v in deleted.items() if k not in ('text', 'advice')},
        )
        self.assertEqual('device-not-attached', lacking['kind'])
        self.assertEqual(mdev(slot(1, 0)), loose['device'])

    def test_repairs(self) -> None:
        found = diagnosis(ill(), invariant.LOOSE)
        repairs = {
            each['kind']: each['repair']
            for each in json.loads(shown(found, 'json')[1])['findings']
        }
        self.assertEqual(
            {'done': True, 'text': 'it is gone'}, repairs[invariant.LOOSE]
        )
        self.assertFalse(repairs[invariant.NOT_ATTACHED]['done'])


class CannotLookTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())

    def test_wrong_usage(self) -> None:
        for value in ('0', 'soon', '-1'):
            error = self.assertRaises(
                SystemExit, self.command.run, 'doctor', f'--timeout={value}'
            )
            self.assertEqual(outcome.USAGE, error.code)

    def test_json_says_so_too(self) -> None:
        printed = io.StringIO()
        args = argparse.Namespace(format='json')
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            code = doctor._blind(args, 'Placement cannot be asked: down')
        self.assertEqual(onhost.CANNOT_LOOK, code)
        self.assertIn('Placement cannot be asked: down', said.getvalue())
        self.assertEqual(
            {
                'version': 1,
                'ok': False,
                'failure': 'Placement cannot be asked: down',
                'findings': [],
            },
            json.loads(printed.getvalue()),
        )
