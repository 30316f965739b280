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

import ddt
import jsonschema
import testtools

from nova_accel.api.schemas import accelerator

ID = '6a1c0d3e-8f14-4f0a-9f0b-2f6d7f3b1c55'


def is_valid(schema: dict[str, ty.Any], body: ty.Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(body)


@ddt.ddt
class CreateTest(testtools.TestCase):
    @ddt.data(
        {'resource_class': 'VGPU'},
        {'resource_class': 'CUSTOM_T4_8Q', 'amount': 2, 'id': ID},
        {'resource_class': 'VGPU', 'amount': 4096},
    )
    def test_good(self, body: dict[str, ty.Any]) -> None:
        self.assertTrue(is_valid(accelerator.CREATE, {'accelerator': body}))

    @ddt.data(
        {},
        {'amount': 1},
        {'resource_class': 'vgpu'},
        {'resource_class': 'VGPU\n'},
        {'resource_class': 'V' * 256},
        {'resource_class': 'VGPU', 'amount': 0},
        {'resource_class': 'VGPU', 'amount': 4097},
        {'resource_class': 'VGPU', 'amount': '1'},
        {'resource_class': 'VGPU', 'amount': True},
        {'resource_class': 'VGPU', 'amount': 1.5},
        {'resource_class': 'VGPU', 'id': ID.upper()},
        {'resource_class': 'VGPU', 'id': f'{ID}\n'},
        {'resource_class': 'VGPU', 'id': None},
        {'resource_class': 'VGPU', 'host': 'host1'},
    )
    def test_bad(self, body: dict[str, ty.Any]) -> None:
        self.assertFalse(is_valid(accelerator.CREATE, {'accelerator': body}))

    @ddt.data([], None, 'x', {}, {'accelerator': {}, 'more': 1})
    def test_bad_as_a_whole(self, body: ty.Any) -> None:
        self.assertFalse(is_valid(accelerator.CREATE, body))


@ddt.ddt
class ActionTest(testtools.TestCase):
    @ddt.data({'force_detach': None}, {'cancel_detach': None})
    def test_good(self, body: dict[str, ty.Any]) -> None:
        self.assertTrue(is_valid(accelerator.ACTION, body))

    @ddt.data(
        {},
        {'force_detach': {}},
        {'force_detach': None, 'cancel_detach': None},
        {'detach': None},
    )
    def test_bad(self, body: dict[str, ty.Any]) -> None:
        self.assertFalse(is_valid(accelerator.ACTION, body))
