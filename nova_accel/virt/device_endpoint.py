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
"""What nova-compute serves to those who operate its devices."""

import typing as ty

from nova import context as nova_context
import oslo_messaging as messaging

from nova_accel import device_rpc
from nova_accel import exception

Context: ty.TypeAlias = nova_context.RequestContext

_expected = messaging.expected_exceptions(exception.AccelError)


class Driver(ty.Protocol):
    """The driver, as far as it is needed here."""

    def accel_obey(
        self, context: Context, discover: bool
    ) -> dict[str, list[str]]:
        """Go by what Placement says now."""

    def accel_attend(
        self, context: Context, device: str, again: bool
    ) -> list[str]:
        """Clean or prepare a device if that is due; return why it failed."""

    def accel_declare_clean(self, context: Context, device: str) -> int:
        """Take an operator's word; return how many units were not clean."""


class Endpoint:
    """See ``device_rpc.DevicesAPI``. All that is public can be called."""

    target = messaging.Target(
        namespace=device_rpc.NAMESPACE, version=device_rpc.VERSION
    )

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @_expected
    def refresh(
        self, context: Context, discover: bool = False
    ) -> dict[str, list[str]]:
        return self._driver.accel_obey(context, discover)

    @_expected
    def attend(
        self, context: Context, device: str, again: bool = False
    ) -> list[str]:
        return self._driver.accel_attend(context, device, again)

    @_expected
    def declare_clean(self, context: Context, device: str) -> int:
        return self._driver.accel_declare_clean(context, device)
