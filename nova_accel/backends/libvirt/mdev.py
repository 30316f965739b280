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
"""Mediated devices: created, checked and destroyed.

They are transient: their uuid is a pure function of the claim, so they are
made again under the same name whenever they are needed. One lock a card:
libvirt and the driver take their time, and cards do not wait for each other.
"""

import logging
import threading
from xml.sax import saxutils

from nova_accel.backends import base
from nova_accel.backends.libvirt import discovery
from nova_accel.backends.libvirt import nodedev
from nova_accel import exception

LOG = logging.getLogger(__name__)


class Mdevs:
    """Creates and destroys the mediated devices of one host."""

    def __init__(self, found: discovery.Discovery) -> None:
        self._found = found
        self._locks: dict[str, threading.Lock] = {}

    def create(self, assignment: base.Assignment) -> None:
        """Make the mediated device exist. One round trip, none if it does.

        :raises DeviceRefused: libvirt cannot, or the uuid is taken.
        """
        wanted = _wanted(assignment)
        with self._lock(assignment), self._found.changing():
            if self._stands(wanted, self._found.mdev(wanted.uuid)):
                return
            try:
                name = self._found.line().create(_xml(wanted))
            except exception.DeviceRefused as error:
                self._recover(wanted, error)
                return
            self._note(wanted, name)

    def destroy(self, assignment: base.Assignment) -> None:
        """Destroy the mediated device; one that is gone is no error.

        :raises DeviceRefused: it is in use.
        """
        wanted = _wanted(assignment)
        with self._lock(assignment), self._found.changing():
            name = self._name(wanted.uuid)
            if name is None:
                return
            self._destroy(name)
            if assignment.adopted:
                self._found.line().undefine(name)

    def _lock(self, assignment: base.Assignment) -> threading.Lock:
        function = assignment.function
        card = str(function.parent or function.address)
        return self._locks.setdefault(card, threading.Lock())

    def _destroy(self, name: str) -> None:
        self._found.line().destroy(name)
        self._found.unmade(name)

    def _stands(
        self, wanted: nodedev.Mediated, mdev: nodedev.Mediated | None
    ) -> bool:
        return mdev is not None and (mdev.type_id, mdev.upstream) == (
            wanted.type_id,
            wanted.upstream,
        )

    def _recover(
        self, wanted: nodedev.Mediated, error: exception.DeviceRefused
    ) -> None:
        # libvirt passes on what mdevctl says, so no code tells that the
        # uuid exists already: look.
        there = self._look(wanted.uuid)
        if there is None:
            raise exception.DeviceRefused(
                device=_label(wanted), reason=error.kwargs['reason']
            ) from error
        if self._stands(wanted, there):
            self._note(wanted, there.name)
            return
        LOG.warning(
            'Mediated device %s is a %s on %s instead of a %s on %s; '
            'replacing it',
            *(wanted.uuid, there.type_id, there.upstream),
            *(wanted.type_id, wanted.upstream),
        )
        self._destroy(there.name)
        self._note(wanted, self._found.line().create(_xml(wanted)))

    def _note(self, wanted: nodedev.Mediated, name: str) -> None:
        self._found.made(
            nodedev.Mediated(
                name or _name(wanted),
                wanted.uuid,
                wanted.type_id,
                wanted.upstream,
            )
        )

    def _name(self, uuid: str) -> str | None:
        known = self._found.mdev(uuid)
        there = known or self._look(uuid)
        return None if there is None else there.name

    def _look(self, uuid: str) -> nodedev.Mediated | None:
        """Search the live list. One round trip, two if it is there."""
        session = self._found.line()
        for name, handle in session.handles(interfaces=False).items():
            if name.startswith(_prefix(uuid)):
                found = nodedev.parse(session.describe(name, handle) or '')
                return found if isinstance(found, nodedev.Mediated) else None
        return None


def _wanted(assignment: base.Assignment) -> nodedev.Mediated:
    return nodedev.Mediated(
        name='',
        uuid=assignment.mdev_uuid or '',
        type_id=assignment.mdev_type or '',
        upstream=assignment.function.name,
    )


def _prefix(uuid: str) -> str:
    return f'mdev_{uuid.replace("-", "_")}'


def _name(wanted: nodedev.Mediated) -> str:
    parent = wanted.upstream.removeprefix('pci_')
    return f'{_prefix(wanted.uuid)}_{parent}'


def _label(wanted: nodedev.Mediated) -> str:
    return f'{wanted.type_id} {wanted.uuid} on {wanted.upstream}'


def _xml(wanted: nodedev.Mediated) -> str:
    return (
        '<device>'
        f'<parent>{saxutils.escape(wanted.upstream)}</parent>'
        "<capability type='mdev'>"
        f'<type id={saxutils.quoteattr(wanted.type_id)}/>'
        f'<uuid>{saxutils.escape(wanted.uuid)}</uuid>'
        '</capability></device>'
    )
