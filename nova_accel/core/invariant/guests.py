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
"""What the guests of a host have."""

from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding


def entitled(case: cases.Case) -> finding.Findings:
    """No guest has a device of ours that its server does not hold."""
    users: dict[str, str] = {}
    for guest in case.facts.guests:
        server = case.servers.get(guest.server)
        mine = {case.devices[c] for c in server.claims} if server else set()
        for device in sorted(guest.devices & case.sources.keys()):
            other = users.setdefault(device, guest.server)
            if other != guest.server and other not in case.busy:
                yield _used(
                    case,
                    finding.SHARED,
                    device,
                    guest.server,
                    f'is in the guests of servers {other} and {guest.server}',
                )
            if device not in mine:
                yield _used(
                    case,
                    finding.NOT_HELD,
                    device,
                    guest.server,
                    f'is in the guest of server {guest.server}, which does '
                    f'not hold it',
                )


def _used(
    case: cases.Case, kind: str, device: str, server: str, text: str
) -> finding.Finding:
    provider = case.sources[device]
    return finding.Finding(
        kind,
        f'{device} of {case.name(provider)} {text}',
        device,
        server,
        provider,
    )
