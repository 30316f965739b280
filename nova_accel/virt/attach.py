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
"""Attaches accelerators to a server that exists; see ``desk``."""

import collections.abc
import dataclasses
import logging
import typing as ty

from nova import exception as nova_exception
from nova import objects

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel.virt import holding
from nova_accel.virt import records
from nova_accel.virt import telling
from nova_accel.virt import undo

LOG = logging.getLogger(__name__)

Context: ty.TypeAlias = holding.Context
Record: ty.TypeAlias = attachment.Attachment
Step = collections.abc.Callable[[Context, objects.Instance, Record], Record]

INTERRUPTED = 'nova-compute was interrupted; try again with the same id'


class Attaching:
    """All that leads to an attached device. Called under a server's lock."""

    def __init__(self, books: holding.Holder) -> None:
        self._books = books

    # What may be

    def reserve(
        self, context: Context, server: objects.Instance, wish: Record
    ) -> Record:
        """Write down that something is to be attached.

        :raises HotplugError: it cannot be.
        """
        known = records.of(server).get(wish.id)
        if known is not None:
            if not known.matches(wish.resource_class, wish.amount):
                raise exception.AttachmentConflict(
                    attachment=known.id,
                    amount=known.amount,
                    resource_class=known.resource_class,
                )
            if known.state in (attachment.ATTACHING, attachment.ATTACHED):
                return known
        self._books.check_state(server)
        self._check_allowed(server, wish)
        if attachment.mixes(server.flavor.extra_specs, wish.resource_class):
            raise exception.GroupsMixed(
                server=server.uuid, resource_class=wish.resource_class
            )
        self._check_possible(server, wish)
        time = records.now()
        record = (
            known.to(attachment.ATTACHING, time)
            if known
            else dataclasses.replace(wish, created=time, updated=time)
        )
        record = dataclasses.replace(record, request_id=context.request_id)
        return records.save(server, record, guarded=True)

    def _check_allowed(self, server: objects.Instance, wish: Record) -> None:
        try:
            limit = attachment.limit(
                server.flavor.extra_specs, wish.resource_class
            )
        except exception.InvalidRequest as e:
            raise exception.HotplugUnsupported(
                server=server.uuid,
                resource_class=wish.resource_class,
                reason=f'its flavor is wrong: {e}',
            ) from e
        if limit is None:
            raise exception.HotplugNotPermitted(
                server=server.uuid,
                flavor=server.flavor.name,
                resource_class=wish.resource_class,
            )
        used = sum(
            record.amount
            for record in records.of(server).values()
            if record.resource_class == wish.resource_class
            and record.id != wish.id
            # What failed and was undone takes nothing.
            and (record.units or record.state != attachment.ERROR)
        )
        if used + wish.amount > limit:
            raise exception.HotplugNotAllowed(
                server=server.uuid,
                resource_class=wish.resource_class,
                limit=limit,
                used=used,
            )

    def _check_possible(self, server: objects.Instance, wish: Record) -> None:
        books = self._books
        reason = None
        if not books.driver.accel_hotplug:
            reason = books.driver.accel_no_hotplug
        elif wish.resource_class not in {
            stock.resource_class
            for pool in books.accel.now.index.pools.values()
            for stock in pool.stocks
        }:
            reason = 'it offers none; migrate the server to one that does'
        if reason is not None:
            raise exception.HotplugUnsupported(
                server=server.uuid,
                resource_class=wish.resource_class,
                reason=reason,
            )

    # What is

    def bring(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Attach what is reserved.

        :returns: the record, attached, or in error with the reason.
        :raises LeftUndone: it failed, and is to be looked at again.
        :raises HotplugWrongState: not now, though it is claimed.
        """
        if self.is_claimed(server, record):
            # Something else may have been begun since.
            self._books.check_state(server)
        else:
            self._start(context, server, record)
        return self.carry_on(context, server, record)

    def claim(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Do of ``bring`` what the guest does not notice.

        :returns: the record, attaching, or in error with the reason.
        :raises LeftUndone: as ``bring``.
        """
        if self.is_claimed(server, record):
            return record
        self._start(context, server, record)
        return self._tried(context, server, record, self._claimed)

    def _start(
        self, context: Context, server: objects.Instance, record: Record
    ) -> None:
        host = self._books.host
        telling.started(context, host, server, record, telling.ATTACH)

    def is_claimed(self, server: objects.Instance, record: Record) -> bool:
        """Tell whether the server holds all of it already."""
        held = self._books.held(server)
        return bool(record.units) and record.claims <= held

    def carry_on(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Do what is left of ``bring``, which may be all of it."""
        record = self._tried(context, server, record, self._do)
        if record.state == attachment.ATTACHED:
            telling.ended(
                context, self._books.host, server, record, telling.ATTACH
            )
        return record

    def _tried(
        self,
        context: Context,
        server: objects.Instance,
        record: Record,
        do: Step,
    ) -> Record:
        """Do something; if that fails, note it and take all back."""
        try:
            return do(context, server, record)
        except exception.LeftUndone:
            raise
        except Exception as e:
            LOG.warning(
                'Attachment %s of server %s failed: %s',
                record.id,
                server.uuid,
                e,
            )
            return self.give_up(context, server, record, _said(e))

    def _do(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        record = self._claimed(context, server, record)
        self._books.driver.accel_insert(server, record.claims)
        record = record.to(attachment.ATTACHED, records.now())
        return records.save(server, record)

    def _claimed(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        if self.is_claimed(server, record):
            return record
        held = self._books.held(server)
        return self._claim(context, server, record, held)

    def _claim(
        self,
        context: Context,
        server: objects.Instance,
        record: Record,
        held: holding.Claims,
    ) -> Record:
        """Claim units from the fullest card that has as many.

        :raises NoFreeSlot: none has.
        """
        accel = self._books.accel
        apart = attachment.apart(server.flavor.extra_specs, held)
        candidates = self._books.placing.candidates(
            context,
            accel.now.node.uuid,
            record.resource_class,
            record.amount,
        )
        reason = 'no card there has as many left'
        for provider in candidates:
            if provider in apart:
                reason = 'group_policy=isolate keeps it from the cards that do'
            elif provider in accel.providing:
                try:
                    return self._take(context, server, record, provider, held)
                except (
                    exception.NoRoom,
                    nova_exception.ComputeResourcesUnavailable,
                ) as e:
                    reason = _said(e)
        raise exception.NoFreeSlot(
            server=server.uuid,
            amount=record.amount,
            resource_class=record.resource_class,
            reason=reason,
        )

    def _take(
        self,
        context: Context,
        server: objects.Instance,
        record: Record,
        provider: str,
        held: holding.Claims,
    ) -> Record:
        """Let a server hold units of one provider, in all the books."""
        books = self._books
        wants = {provider: {record.resource_class: record.amount}}
        with undo.stack() as on_error:
            on_error(lambda: books.settle(context, server.uuid, held))
            books.settle(context, server.uuid, held, wants)
            claims = books.rt.hotplug_claim(server, wants)
            on_error(lambda: books.rt.hotplug_release(claims))
            record = self._described(server, record.holding(claims))
            records.save(server, record, guarded=True)
            on_error(lambda: self._unhold(context, server.uuid, record))
            records.hold(
                server,
                more=claims,
                extra_specs=attachment.with_group(
                    server.flavor.extra_specs, record
                ),
            )
            books.announce(context, server)
        return record

    def _described(self, server: objects.Instance, record: Record) -> Record:
        found = self._books.accel.assignments(server.uuid, record.claims)
        movable = all(each.live_migratable for each in found.values())
        return dataclasses.replace(record, live_migratable=movable)

    def _unhold(self, context: Context, uuid: str, record: Record) -> None:
        # An answer that got lost does not tell that nothing was written.
        server = self._books.load(context, uuid)
        records.hold(
            server,
            less=record.claims,
            extra_specs=attachment.without_group(
                server.flavor.extra_specs, record.id
            ),
        )

    # What cannot be

    def _fail(
        self, context: Context, uuid: str, id_: str, reason: str
    ) -> Record:
        """Note that an attach has failed, and take back what it took.

        :raises LeftUndone: not all could be taken back.
        """
        try:
            server = self._books.load(context, uuid)
            record = records.of(server)[id_]
            if not self._is_kept(server, record):
                record = self._books.free(context, server, record)
            failed = record.to(attachment.ERROR, records.now(), reason)
            return records.save(server, failed)
        except Exception as e:
            raise exception.LeftUndone(reason=f'{reason} ({e})') from e

    def give_up(
        self,
        context: Context,
        server: objects.Instance,
        record: Record,
        reason: str = INTERRUPTED,
    ) -> Record:
        """End an attach that has failed, or is not to be, and say why.

        :returns: the record, in error.
        :raises LeftUndone: not all could be taken back.
        """
        failed = self._fail(context, server.uuid, record.id, reason)
        telling.ended(
            context,
            self._books.host,
            server,
            failed,
            telling.ATTACH,
            exception.HotplugFailed(
                attachment=record.id, server=server.uuid, reason=reason
            ),
        )
        return failed

    def _is_kept(self, server: objects.Instance, record: Record) -> bool:
        """Tell whether a guest has got some of it and does not let go."""
        mine = record.claims & self._books.held(server)
        if not mine:
            return False
        driver = self._books.driver
        driver.accel_withdraw(server, mine)
        return driver.accel_inside(server, mine)


def _said(error: Exception) -> str:
    if isinstance(error, nova_exception.NovaException):
        return str(error.format_message())
    return str(error) or type(error).__name__
