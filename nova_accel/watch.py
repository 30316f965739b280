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
"""Watches the health of devices, as their rules ask for it.

Reads sysfs only, and only of devices whose rule says ``health:``: when the
hardware has changed, and else once in a while.
"""

import collections.abc
import time

from nova_accel.core import inventory
from nova_accel.core import states
from nova_accel.core import upkeep
from nova_accel.core import whitelist
from nova_accel import manager

_UNREAD = upkeep.Reading()
# What is over when the host says so; whether an attach would succeed now,
# nobody knows before it is tried.
_PASSING = frozenset(
    {states.DRIVER_GONE, states.LINK_DOWN, *upkeep.COUNTERS.values()}
)

Watched = tuple[str, whitelist.Rule]


class Watch:
    """The health of the devices of one host.

    :param interval: seconds between two readings of the same hardware.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        accel: manager.Manager,
        interval: float,
        clock: collections.abc.Callable[[], float] = time.monotonic,
    ) -> None:
        self._accel = accel
        self._interval = interval
        self._clock = clock
        self._looked: tuple[float, object] | None = None
        # Errors that do not count: stable id -> the reading up to which.
        self._base: dict[str, upkeep.Reading] = {}
        self._ill: set[str] = set()

    def look(self) -> tuple[frozenset[str], frozenset[str]]:
        """Read what is due.

        :returns: stable ids of devices that were quarantined just now, and
            of those that have recovered and may be put into service.
        """
        now = self._accel.now
        due = self._looked is None or (
            self._looked[1] is not now.view.devices
            or self._clock() - self._looked[0] >= self._interval
        )
        if not due:
            return frozenset(), frozenset()
        self._looked = self._clock(), now.view.devices
        watched = dict(self._watched(now.offer))
        if not watched:
            return frozenset(), frozenset()
        devices = {
            stable_id: now.offer.cards[stable_id].device
            for stable_id in watched
        }
        found = self._accel.readings(devices.values())
        fallen: set[str] = set()
        risen: set[str] = set()
        for stable_id, rule in watched.items():
            reading = found.get(devices[stable_id].name)
            if reading is None or rule.health is None:
                continue
            verdict = self._judge(stable_id, rule.health, reading)
            if verdict is None:
                risen.add(stable_id)
            elif verdict and self._accel.quarantine(stable_id, verdict):
                fallen.add(stable_id)
        return frozenset(fallen), frozenset(risen)

    def _watched(
        self, offer: inventory.Offer
    ) -> collections.abc.Iterator[Watched]:
        for pool in offer.pools:
            if pool.rule.health is not None:
                for stable_id in pool.cards:
                    yield stable_id, pool.rule
        # One whose driver is gone may have nothing to offer.
        for entry in offer.withheld:
            if len(entry.rules) == 1 and entry.rules[0].health is not None:
                stable_id = offer.ids.get(entry.device.name, '')
                if self._accel.knows(stable_id):
                    yield stable_id, entry.rules[0]

    def _judge(
        self, stable_id: str, health: upkeep.Health, now: upkeep.Reading
    ) -> states.Marks | None:
        """Return reasons to quarantine a device; None: it has recovered."""
        marks = self._accel.marks(stable_id)
        if self._accel.is_held(stable_id):
            # Of one that a guest has, the driver is vfio-pci or none.
            now = upkeep.Reading(None, now.link, now.errors)
        base = self._base.get(stable_id)
        if states.QUARANTINED in marks:
            self._ill.add(stable_id)
            self._base[stable_id] = now
            why = marks & states.REASONS.keys()
            over = base is not None and not health.judge(now, base)
            if health.recovers and over and why and why <= _PASSING:
                return None
            return frozenset()
        if stable_id in self._ill:
            # An operator has looked at it since.
            self._ill.discard(stable_id)
            base = self._base[stable_id] = now
        elif base is None:
            # One that was enabled had its errors before.
            base = now if states.READY in marks else _UNREAD
            self._base[stable_id] = base
        found = health.judge(now, base)
        if found:
            self._ill.add(stable_id)
        return found
