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
"""Detaches accelerators from a server that exists; see ``desk``."""

import dataclasses
import logging
import typing as ty

from nova.compute import task_states
from nova.compute import vm_states
from nova import objects

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel.virt import holding
from nova_accel.virt import records
from nova_accel.virt import telling

LOG = logging.getLogger(__name__)

Context: ty.TypeAlias = holding.Context
Record: ty.TypeAlias = attachment.Attachment

WAITING = (
    'the guest has been asked and has not let go of it yet; it stays '
    'allocated until it does, or is stopped or rebooted hard'
)


class Detaching:
    """All that leads to a free device. Called under a server's lock."""

    def __init__(self, books: holding.Holder) -> None:
        self._books = books

    def begin(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Write down that a device is to go. Idempotent.

        :raises HotplugError: not now.
        """
        if record.state == attachment.DETACHING:
            return record
        self._books.check_state(server)
        record = dataclasses.replace(
            record.to(attachment.DETACHING, records.now()),
            request_id=context.request_id,
        )
        records.save(server, record, guarded=True)
        telling.started(
            context, self._books.host, server, record, telling.DETACH
        )
        return record

    def proceed(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Ask the guest, and give the device back if it has let go.

        :returns: the record, with state '' if it is gone, else still
            detaching, with the reason. Never raises for a reason to wait.
        """
        try:
            if self._is_inside(server, record):
                return self._wait(server, record, WAITING)
            record = self._books.free(context, server, record)
            records.erase(server, record.id)
        except Exception as e:
            LOG.warning(
                'Attachment %s of server %s stays detaching: %s',
                record.id,
                server.uuid,
                e,
            )
            return self._wait(server, record, str(e) or type(e).__name__)
        gone = record.to('', records.now())
        telling.ended(context, self._books.host, server, gone, telling.DETACH)
        return gone

    def _is_inside(self, server: objects.Instance, record: Record) -> bool:
        mine = record.claims & self._books.held(server)
        if not mine:
            return False
        driver = self._books.driver
        driver.accel_withdraw(server, mine)
        return driver.accel_inside(server, mine)

    def _wait(
        self, server: objects.Instance, record: Record, reason: str
    ) -> Record:
        """Let a user read what it waits for."""
        waiting = dataclasses.replace(record, reason=reason[:500])
        known = records.of(server).get(record.id)
        if known is not None and known.reason != waiting.reason:
            try:
                records.save(
                    server, dataclasses.replace(known, reason=waiting.reason)
                )
            except Exception as e:
                LOG.warning('Record %s was not saved: %s', record.id, e)
        return waiting

    def cancel(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Let a guest keep what it has not let go of.

        :raises HotplugError: it has, or not now.
        """
        if record.state != attachment.DETACHING:
            raise exception.NotDetaching(
                server=server.uuid, attachment=record.id, state=record.state
            )
        kept = record.to(attachment.ATTACHED, records.now())
        self._books.check_state(server)
        if not record.units or not record.claims <= self._books.held(server):
            raise exception.AttachmentBusy(
                attachment=record.id, state='as good as detached'
            )
        self._books.driver.accel_insert(server, record.claims)
        records.save(server, kept)
        telling.ended(
            context,
            self._books.host,
            server,
            kept,
            telling.DETACH,
            exception.HotplugFailed(
                attachment=record.id,
                server=server.uuid,
                reason='the detach was cancelled',
            ),
        )
        return kept

    def force(self, context: Context, server: objects.Instance) -> None:
        """Start a guest anew, without what it does not let go of.

        :raises HotplugError: not now.
        """
        self._books.check_state(server)
        if server.vm_state == vm_states.STOPPED:
            return
        LOG.info('Server %s is rebooted to free its device', server.uuid)
        server.task_state = task_states.REBOOTING_HARD
        records.save_row(server)
        self._books.compute._reboot_instance(
            context.elevated(), server, None, 'HARD'
        )
