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
"""What a guest writes to its console about its devices."""

import dataclasses
import re

_MARK = 'ACCEL-GUEST'
_REPORT = re.compile(rf'{_MARK} BEGIN\s*\n(.*?){_MARK} END', re.DOTALL)
_DEVICE = re.compile(rf'{_MARK} DEV (\S+) serial=(\S+) mdev=(\S+)')


@dataclasses.dataclass(frozen=True, order=True)
class Device:
    """One host device as the guest sees it.

    :ivar ids: ``vendor:product``.
    :ivar serial: of the card; '' where the guest does not see it.
    :ivar mdev: uuid of the mediated device, '' of another.
    """

    ids: str
    serial: str = ''
    mdev: str = ''


def last_report(console: str) -> tuple[Device, ...] | None:
    """Read the last complete report; None: there is none yet."""
    found = _REPORT.findall(console)
    if not found:
        return None
    return tuple(
        sorted(
            Device(ids, *(_known(word) for word in words))
            for ids, *words in _DEVICE.findall(found[-1])
        )
    )


def _known(word: str) -> str:
    return '' if word == '-' else word
