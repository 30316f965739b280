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
"""A failure as XAPI answers it: a code, then parameters."""

from nova_accel.testing.xapi_simulator import facts

LISTS = frozenset(
    {
        'GPU_GROUP_CONTAINS_PGPU',
        'GPU_GROUP_CONTAINS_VGPU',
        'NETWORK_CONTAINS_PIF',
        'NETWORK_CONTAINS_VIF',
        'PGPU_IN_USE_BY_VM',
        'USB_GROUP_CONTAINS_PUSB',
        'USB_GROUP_CONTAINS_VUSB',
        'VGPU_TYPE_NOT_ENABLED',
        'VGPU_TYPE_NOT_SUPPORTED',
    }
)
"""Codes whose last parameter is a list: XAPI sends its items one by one."""


class Failure(Exception):
    """What a message fails with.

    The code and the number of its parameters must be those of the model, or
    the simulator itself is wrong; a code that is not in the model is refused
    when it is raised.
    """

    def __init__(self, code: str, *parameters: object) -> None:
        names = facts.load().errors.get(code)
        if names is None or (
            len(names) != len(parameters)
            and not (code in LISTS and len(parameters) >= len(names) - 1)
        ):
            raise AssertionError(
                f'XAPI knows no error {code} with {len(parameters)} '
                f'parameters: {names}'
            )
        self.code = code
        self.details = [code, *map(str, parameters)]
        super().__init__(*self.details)
