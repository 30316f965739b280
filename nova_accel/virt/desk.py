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
"""Attaches accelerators to servers that exist, and detaches them.

Nova-compute serves this itself. All of it runs under the lock that
nova-compute takes for a server, and writes into nova's own record what must
not be forgotten. Whatever is found half done when nova-compute starts is
carried on or taken back:

==  ==================================  ===================================
    attach                              found by a start, with nothing of
                                        what follows
==  ==================================  ===================================
1   the record says attaching           error: interrupted
2   Placement allocates                 the same; the allocation goes
3   the tracker claims units            the same
4   the record names the units          the same
5   resources and flavor name them:     goes on
    the server holds them; where the
    API looks at limits again, it does
    so now, and may have it refused
6   the devices are made                goes on
7   the guest has them, for good        goes on
8   the record says attached            done
==  ==================================  ===================================

==  ==================================  ===================================
    detach                              found by a start
==  ==================================  ===================================
1   the record says detaching           goes on, as in all that follow
2   the guest's definition is without
    them
3   the guest is asked, and lets go
    when it does
4   the devices are unmade
5   resources and flavor do not name
    them any more
6   the tracker forgets the units
7   Placement has them back
8   the record is gone                  done
==  ==================================  ===================================
"""

import collections.abc
import logging
import typing as ty

from nova import context as nova_context
from nova import objects
from nova import thread_pool_factory
from nova import utils
from oslo_utils import timeutils

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel.virt import attach
from nova_accel.virt import detach
from nova_accel.virt import holding
from nova_accel.virt import records

LOG = logging.getLogger(__name__)

Context: ty.TypeAlias = holding.Context
Record: ty.TypeAlias = attachment.Attachment
_Do = collections.abc.Callable[[objects.Instance], Record]
_Step: ty.TypeAlias = attach.Step

# An attach that nobody asks for, seconds after it was reserved, is given up.
_FORGOTTEN = 600.0


class Desk:
    """What is asked for, and what goes on by itself."""

    def __init__(self, driver: holding.Driver) -> None:
        self._books = holding.Holder(driver)
        self._attaching = attach.Attaching(self._books)
        self._detaching = detach.Detaching(self._books)
        # Servers with something under way.
        self._open: set[str] = set()
        # Attaches that failed and are not yet undone, by id.
        self._broken: set[str] = set()
        # Guests that may still let go of what they are to keep.
        self._kept: set[str] = set()

    # What is asked for

    def reserve(
        self,
        context: Context,
        uuid: str,
        id: str,
        resource_class: str,
        amount: int,
    ) -> Record:
        """See ``rpc.AccelAPI``."""
        if not attachment.is_id(id) or amount < 1:
            raise exception.InvalidInput(
                where='attachment',
                reason='its id is a uuid, its amount a number above 0',
            )
        wish = attachment.Attachment(id, resource_class, amount)

        def do(server: objects.Instance) -> Record:
            record = self._attaching.reserve(context, server, wish)
            self._open.add(server.uuid)
            return record

        return self._locked(context, uuid, do)

    def claim(self, context: Context, uuid: str, id: str) -> Record:
        """See ``rpc.AccelAPI``."""
        return self._try(context, uuid, id, self._attaching.claim)

    def attach(self, context: Context, uuid: str, id: str) -> Record:
        """See ``rpc.AccelAPI``."""
        return self._try(context, uuid, id, self._attaching.bring)

    def refuse(
        self, context: Context, uuid: str, id: str, reason: str
    ) -> Record:
        """See ``rpc.AccelAPI``."""

        def give_up(
            context: Context, server: objects.Instance, record: Record
        ) -> Record:
            return self._attaching.give_up(context, server, record, reason)

        return self._try(context, uuid, id, give_up)

    def _try(
        self, context: Context, uuid: str, id: str, step: _Step
    ) -> Record:
        """Take a step of an attach that has not ended yet."""

        def do(server: objects.Instance) -> Record:
            record = _found(server, id)
            if record.state == attachment.DETACHING:
                raise exception.AttachmentBusy(
                    attachment=id, state=record.state
                )
            if record.state != attachment.ATTACHING:
                return record
            self._open.add(server.uuid)
            try:
                record = step(context, server, record)
            except exception.LeftUndone as e:
                self._broken.add(id)
                raise exception.HotplugFailed(
                    attachment=id, server=uuid, reason=e
                ) from e
            self._close(server)
            return record

        return self._locked(context, uuid, do)

    def detach(
        self,
        context: Context,
        uuid: str,
        id: str,
        force: bool = False,
    ) -> Record:
        """See ``rpc.AccelAPI``."""

        def do(server: objects.Instance) -> Record:
            record = self._detaching.begin(context, server, _found(server, id))
            self._open.add(server.uuid)
            record = self._detaching.proceed(context, server, record)
            if force and record.state:
                self._detaching.force(context, server)
                server = self._books.load(context, server.uuid)
                record = self._detaching.proceed(
                    context, server, _found(server, id)
                )
            self._close(server)
            return record

        return self._locked(context, uuid, do)

    def cancel(self, context: Context, uuid: str, id: str) -> Record:
        """See ``rpc.AccelAPI``."""

        def do(server: objects.Instance) -> Record:
            record = self._detaching.cancel(
                context, server, _found(server, id)
            )
            self._kept.add(server.uuid)
            self._close(server)
            return record

        return self._locked(context, uuid, do)

    def _locked(self, context: Context, uuid: str, do: _Do) -> Record:
        @utils.synchronized(uuid)
        def alone() -> Record:
            return do(self._books.load(context, uuid))

        return ty.cast(Record, alone())

    def _close(self, server: objects.Instance) -> None:
        """Do not come back to a server with nothing under way."""
        if not any(map(_is_open, records.of(server).values())):
            self._open.discard(server.uuid)

    # What goes on by itself

    def resume(self, context: Context) -> None:
        """Carry on, or take back, what was under way when this host stopped.

        Never raises.
        """
        try:
            servers = objects.InstanceList.get_by_host(
                context, self._books.host, expected_attrs=['system_metadata']
            )
        except Exception as e:
            LOG.warning('Attachments are not looked at: %s', e)
            return
        for server in servers:
            found = records.of(server).values()
            if any(r.state != attachment.ATTACHED for r in found):
                self._open.add(server.uuid)
        self.tend(context, starting=True)

    def tend(self, context: Context, starting: bool = False) -> None:
        """Look again at what is under way. Never raises.

        :param starting: nothing can have been begun by this process.
        """
        for uuid in sorted(self._open):
            self._tend(context, uuid, starting)

    def _tend(self, context: Context, uuid: str, starting: bool) -> None:
        @utils.synchronized(uuid)
        def alone() -> None:
            server = self._books.load(context, uuid)
            if server.task_state is None or starting:
                self._look(context, server, starting)
                self._close(server)

        try:
            alone()
        except exception.HotplugWrongState:
            # Deleted, or another host's affair.
            self._open.discard(uuid)
        except Exception as e:
            LOG.warning(
                'Attachments of server %s are looked at again later: %s',
                uuid,
                e,
            )

    def _look(
        self, context: Context, server: objects.Instance, starting: bool
    ) -> None:
        for record in records.of(server).values():
            if record.state == attachment.DETACHING:
                self._detaching.proceed(context, server, record)
            elif record.state == attachment.ATTACHING:
                self._recover(context, server, record, starting)
            elif record.state == attachment.ERROR and starting:
                held = self._books.held(server)
                self._books.settle(context, server.uuid, held)

    def _recover(
        self,
        context: Context,
        server: objects.Instance,
        record: Record,
        starting: bool,
    ) -> None:
        """Go on with an attach that was interrupted, or give it up."""
        if not (starting or record.id in self._broken or _is_old(record)):
            # The API asks for the next step.
            return
        if self._attaching.is_claimed(server, record):
            self._attaching.carry_on(context, server, record)
        else:
            held = self._books.held(server)
            self._books.rt.hotplug_forget(server.uuid, held)
            self._attaching.give_up(context, server, record)
        self._broken.discard(record.id)

    def let_go(self, uuid: str) -> None:
        """Hear that a guest has let go of something. Returns at once."""
        if uuid in self._open or uuid in self._kept:
            thread_pool_factory.spawn(self._answered, uuid)

    def _answered(self, uuid: str) -> None:
        context = nova_context.get_admin_context()
        if uuid in self._kept:
            self._plug_again(context, uuid)
        self._tend(context, uuid, starting=False)

    def _plug_again(self, context: Context, uuid: str) -> None:
        """Give a guest back what it was to keep after all."""

        @utils.synchronized(uuid)
        def alone() -> None:
            server = self._books.load(context, uuid)
            self._books.check_state(server)
            for record in records.of(server).values():
                if record.state == attachment.ATTACHED:
                    self._books.driver.accel_insert(server, record.claims)

        try:
            alone()
        except Exception as e:
            LOG.warning(
                'Server %s did not get back what it has let go of; reboot it '
                'hard: %s',
                uuid,
                e,
            )

    # Servers that come here

    def arrived(
        self, server: objects.Instance, claims: holding.Claims
    ) -> None:
        """Tell anew which units are whose; nova saves the server later.

        :param claims: what it holds on this host.
        """
        before = records.of(server)
        metadata = server.system_metadata
        groups = attachment.groups(server.flavor.extra_specs)
        for record in attachment.rebound(before.values(), claims):
            record = _settled(record, groups)
            if record != before[record.id]:
                metadata = attachment.written(metadata, record)
            if _is_open(record):
                self._open.add(server.uuid)
        if metadata != server.system_metadata:
            server.system_metadata = metadata


def _found(server: objects.Instance, id_: str) -> Record:
    record = records.of(server).get(id_)
    if record is None:
        raise exception.AttachmentNotFound(server=server.uuid, attachment=id_)
    return record


def _is_open(record: Record) -> bool:
    return record.state in (attachment.ATTACHING, attachment.DETACHING)


def _is_old(record: Record) -> bool:
    try:
        since = timeutils.parse_isotime(record.updated)
    except ValueError:
        return True
    age = timeutils.utcnow(with_timezone=True) - since
    return bool(age.total_seconds() > _FORGOTTEN)


def _settled(
    record: Record, groups: collections.abc.Mapping[str, object]
) -> Record:
    """Say of an attach that a move has overtaken how it ended."""
    if record.state != attachment.ATTACHING:
        return record
    if record.id in groups and record.units:
        return record.to(attachment.ATTACHED, records.now())
    return record.holding(()).to(
        attachment.ERROR, records.now(), attach.INTERRUPTED
    )
