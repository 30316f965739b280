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
"""Devices whose state operators and hardware change, and words about them."""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile
import typing as ty

import fixtures

from tests.functional import test_doctor

from nova_accel.cli import device
from nova_accel.cli import outcome
from nova_accel.core import naming

from tests.functional import rules


class Programs(fixtures.Fixture):
    """A folder of the operator's programs, where anybody may look."""

    def _setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o777)

    def write(self, text: str) -> pathlib.Path:
        """Write the one program, or another one in its place."""
        path = self.folder / 'program'
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
        return path


class DeviceCase(test_doctor.DoctorCase):
    """Commands about devices, beside a nova-compute that runs."""

    def say(
        self, command: ty.Any, *words: str, code: int = outcome.OK
    ) -> ty.Any:
        """Run a command; return what it printed, as JSON, or its errors."""
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args([*words, '-f', 'json'])
        out, err = io.StringIO(), io.StringIO()
        with (
            self.without_database(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            found = command.perform(self.visit(), args)
        self.assertEqual(code, found, out.getvalue() + err.getvalue())
        return json.loads(out.getvalue() or 'null') or err.getvalue()

    def command(self, *words: str, code: int = outcome.OK) -> ty.Any:
        """Run nova-accel device."""
        return self.say(device, *words, code=code)

    def said(self, stable_id: str) -> dict[str, ty.Any]:
        """What is told of one device."""
        (found,) = self.command('show', stable_id)['devices']
        return ty.cast(dict[str, ty.Any], found)

    def states(self) -> dict[str, str]:
        found = self.command('list')['devices']
        return {each['id']: each['state'] for each in found}

    def device_of(self, server: dict[str, ty.Any]) -> str:
        """Stable id of the one device that a server has something of."""
        (claim,) = self.claims(server)
        return naming.UnitId.parse(claim.unit).device

    def traits_of(self, provider: str) -> set[str]:
        return set(self._get_provider_traits(provider))


class UpkeepCase(DeviceCase):
    """Whole cards of one pool, and what nova-compute does to them."""

    def setUp(self) -> None:
        super().setUp()
        self.programs = self.useFixture(Programs())
        self.addCleanup(self.settle)

    def settle(self) -> None:
        """Wait for everything that is done in the background."""
        for compute in self.computes.values():
            self.assertTrue(compute.manager.driver.accel_caretaker.wait(60))

    def program(self, text: str) -> str:
        """Write a program; return what a rule says to have it run."""
        return f'{{command: [{self.programs.write(text)}], timeout: 2}}'

    def begin(self, *more: str) -> None:
        """Start a host with a pool of eight cards.

        :param more: lines of its rule.
        """
        self.start_host('host1', 'a100', rules.a100_pool(*more))
        self.one = self.flavor_of(1)
        self.conn = self.connection_of('host1')

    def flavor_of(self, amount: int) -> str:
        """Make a flavor so small that the host runs out of cards first."""
        return ty.cast(
            str,
            self._create_flavor(
                memory_mb=64,
                vcpu=1,
                disk=1,
                ephemeral=0,
                extra_spec={'resources:CUSTOM_A100': str(amount)},
            ),
        )

    @property
    def pool(self) -> str:
        """Uuid of the provider of the pool."""
        (found,) = self.accel_providers('host1').values()
        return found

    def amounts(self) -> tuple[int, int]:
        """Total and reserved of the pool."""
        (found,) = self.inventories('host1').values()
        return found['CUSTOM_A100']

    def used_once(self) -> str:
        """Boot a server, delete it, and return the unit that it had."""
        server = self.boot(self.one)
        (claim,) = self.claims(server)
        self._delete_server(server)
        self.settle()
        return claim.unit

    def set_traits(self, traits: set[str]) -> None:
        """What openstack resource provider trait set does to the pool."""
        for trait in traits:
            self.placement.put(f'/traits/{trait}', None, version='1.6')
        path = f'/resource_providers/{self.pool}'
        found = self.placement.get(path, version='1.6').body
        answer = self.placement.put(
            f'{path}/traits',
            {
                'resource_provider_generation': found['generation'],
                'traits': sorted(traits),
            },
            version='1.6',
        )
        self.assertEqual(200, answer.status, answer.body)
