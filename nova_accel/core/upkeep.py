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
"""What a rule asks to be done for its devices, beside handing them out.

``clean:`` after a server has let go of one, ``prepare:`` before one is put
into service, ``health:`` in between.
"""

import collections.abc
import dataclasses

from nova_accel.core import cursor
from nova_accel.core import states

# Ways to clean that are no command.
FLR = 'flr'
MDEV = 'mdev'

TIMEOUT = 60
MAX_TIMEOUT = 3600
MAX_COUNT = 1000000

RECOVER_AUTO = 'auto'
RECOVER_OPERATOR = 'operator'

# Counter of PCI Express errors -> the mark of a device that has too many.
COUNTERS: collections.abc.Mapping[str, str] = {
    'aer_fatal': states.AER_FATAL,
    'aer_nonfatal': states.AER_NONFATAL,
    'aer_correctable': states.AER_CORRECTABLE,
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A program of the operator's, run without a shell.

    :ivar argv: an absolute path, and arguments.
    :ivar timeout: seconds after which it is killed.
    """

    argv: tuple[str, ...]
    timeout: int = TIMEOUT


@dataclasses.dataclass(frozen=True)
class Prepare:
    """What is done and checked before a device is put into service.

    :ivar drivers: the device must be bound to one of them then; empty:
        whichever.
    """

    command: Command | None = None
    drivers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the host tells about the health of one device.

    :ivar driver: that it is bound to, '' for none, None: unknown.
    :ivar link: whether its link is up; None: it does not tell.
    :ivar errors: counter -> its figure, since the host was booted.
    """

    driver: str | None = None
    link: bool | None = None
    errors: collections.abc.Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )


@dataclasses.dataclass(frozen=True)
class Health:
    """When a device is quarantined.

    :ivar limits: counter -> figure at which it is.
    :ivar link: when its link is down.
    :ivar drivers: when it is bound to none of them; empty: never for that.
    :ivar recovers: it is put into service again once that is over.
    """

    limits: tuple[tuple[str, int], ...] = ()
    link: bool = False
    drivers: tuple[str, ...] = ()
    recovers: bool = False

    def judge(self, now: Reading, base: Reading) -> states.Marks:
        """Return the reasons to quarantine a device.

        :param base: errors counted by then do not count.
        """
        found = {
            COUNTERS[name]
            for name, limit in self.limits
            if now.errors.get(name, 0) - base.errors.get(name, 0) >= limit
        }
        if self.link and now.link is False:
            found.add(states.LINK_DOWN)
        bound = now.driver
        if self.drivers and bound is not None and bound not in self.drivers:
            found.add(states.DRIVER_GONE)
        return frozenset(found)


# Readers of the whitelist


def clean(here: cursor.Cursor) -> str | Command | None:
    """Read ``flr``, ``mdev`` or ``{command: [...], timeout: 60}``."""
    if not here.is_mapping:
        return here.choice((FLR, MDEV))
    fields = here.known(('command', 'timeout')) or {}
    return _command(here, fields)


def prepare(here: cursor.Cursor) -> Prepare | None:
    """Read ``{command: [...], timeout: 60, driver: vfio-pci}``."""
    fields = here.known(('command', 'timeout', 'driver'))
    if fields is None:
        return None
    drivers = _texts(fields.get('driver'))
    if 'command' not in fields and drivers and 'timeout' not in fields:
        return Prepare(drivers=drivers)
    command = _command(here, fields)
    return None if command is None else Prepare(command, drivers)


def health(here: cursor.Cursor) -> Health | None:
    """Read ``{aer_fatal: 1, link: yes, driver: nvidia, recover: auto}``."""
    fields = here.known((*COUNTERS, 'link', 'driver', 'recover'))
    if fields is None:
        return None
    limits = {
        name: fields[name].integer(1, MAX_COUNT)
        for name in COUNTERS
        if name in fields
    }
    recover = None
    if 'recover' in fields:
        recover = fields['recover'].choice((RECOVER_AUTO, RECOVER_OPERATOR))
    found = Health(
        tuple((k, v) for k, v in limits.items() if v is not None),
        bool('link' in fields and fields['link'].boolean()),
        _texts(fields.get('driver')),
        recover == RECOVER_AUTO,
    )
    if not fields.keys() - {'recover'}:
        here.fail(
            f'says nothing to look at; add one of '
            f'{", ".join((*COUNTERS, "link", "driver"))}'
        )
    return found


def _command(
    here: cursor.Cursor,
    fields: collections.abc.Mapping[str, cursor.Cursor],
) -> Command | None:
    timeout = TIMEOUT
    if 'timeout' in fields:
        timeout = fields['timeout'].integer(1, MAX_TIMEOUT) or TIMEOUT
    if 'command' not in fields:
        here.missing('command', 'write command: [/path/of/a/program]')
        return None
    items = fields['command'].items() or []
    argv = [item.string() for item in items]
    if not argv or None in argv:
        return None
    if not str(argv[0]).startswith('/'):
        items[0].fail('must be an absolute path: no PATH is searched')
        return None
    return Command(tuple(map(str, argv)), timeout)


def _texts(field: cursor.Cursor | None) -> tuple[str, ...]:
    if field is None:
        return ()
    found = (item.string() for item in field.alternatives())
    return tuple(text for text in found if text is not None)
