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

========  ==============================================  ========
state     event                                           next
========  ==============================================  ========
free      add: a claim call picked it                     picked
picked    settle: it was read back from the database      free
picked    release: its server gave it up                  free
picked    drop: the claim call that picked it failed      free
free      settle, release, drop                           free
picked    add by the same consumer                        picked
picked    add by another consumer                         an error
========  ==============================================  ========

(``free`` as far as the ledger is concerned: the tracker may know better.)

Not thread safe: callers hold nova's compute resource lock.
"""

import collections.abc

from nova_accel.core import inventory


class Ledger:
    """Picks, each with the server or migration that it was made for."""

    def __init__(self) -> None:
        self._picks: dict[inventory.Claim, str] = {}

    def add(
        self, consumer: str, claims: collections.abc.Iterable[inventory.Claim]
    ) -> None:
        """Write down what a claim call has picked: all or nothing.

        :raises ValueError: another consumer has picked one of them.
        """
        picks = dict.fromkeys(claims, consumer)
        for claim in picks:
            holder = self._picks.get(claim, consumer)
            if holder != consumer:
                raise ValueError(
                    f'{claim.unit} is picked for {holder}, and again for '
                    f'{consumer}'
                )
        self._picks.update(picks)

    def release(
        self, claims: collections.abc.Iterable[inventory.Claim]
    ) -> None:
        """Forget units that their server gave up."""
        for claim in claims:
            self._picks.pop(claim, None)

    # Once the database has it, the tracker reads it from there.
    settle = release

    def drop(self, consumer: str) -> None:
        """Forget all picks of a consumer whose claim call failed."""
        self.release([c for c, by in self._picks.items() if by == consumer])

    def held(self) -> frozenset[inventory.Claim]:
        """Return all picks."""
        return frozenset(self._picks)
