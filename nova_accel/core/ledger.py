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
"""Units that this process has picked and nobody has written down yet.

nova's tracker forgets a claim between the pick and the first save of the
instance. The ledger does not. What is free is what is published, less what
the tracker has assigned, less what stands here.

=======  ===============================================  =======
state    event                                            next
=======  ===============================================  =======
absent   add: a claim call picked it                      picked
absent   settle, release                                  absent
picked   settle: it is among the unsaved                  picked
picked   settle: it is not: the record of its server      absent
         names it, or its server is gone
picked   release: its server gave it up, or the claim     absent
         call that picked it failed
picked   add: it would serve two servers                  error
=======  ===============================================  =======

Each pick names its server. That the record of another one names the unit
says nothing: it may be outdated.

Not thread safe: callers hold nova's compute resource lock.
"""

import collections.abc

from nova_accel.core import inventory

_Claims = collections.abc.Collection[inventory.Claim]


class Ledger:
    """The picks of this process."""

    def __init__(self) -> None:
        self._picks: dict[inventory.Claim, str] = {}

    def add(self, claims: _Claims, server: str = '') -> None:
        """Write down what one claim call has picked: all or nothing.

        :param server: the uuid of the server they are for.
        :raises ValueError: one of them is picked already.
        """
        twice = self._picks.keys() & set(claims)
        if twice or len(set(claims)) < len(claims):
            names = sorted(claim.unit for claim in twice or claims)
            raise ValueError(f'picked twice: {", ".join(names)}')
        self._picks.update(dict.fromkeys(claims, server))

    def release(self, claims: _Claims) -> None:
        """Forget units that their server gave up or never got."""
        for claim in claims:
            self._picks.pop(claim, None)

    def settle(self, unsaved: _Claims) -> None:
        """Keep these picks alone."""
        self.release(self.held().difference(unsaved))

    def held(self) -> frozenset[inventory.Claim]:
        """Return all picks that the database does not have yet."""
        return frozenset(self._picks)

    def servers(self) -> dict[inventory.Claim, str]:
        """Return each pick and the server it is for."""
        return dict(self._picks)
