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
"""What goes on after a request was answered.

``attach`` of nova-compute takes as long as the device takes, and then the
RequestSpec is to be written. Nothing of it is lost when this process dies:
the record of the attachment says ``attaching``, and the next request on the
server that meets it so for long takes it up again, in whatever process.
"""

import collections.abc
import concurrent.futures
import dataclasses
import datetime
import functools
import threading
import time

import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging
import oslo_messaging as messaging

from nova_accel.api import permission
from nova_accel.api import servers
from nova_accel.api import spec
from nova_accel.conf import api as api_conf
from nova_accel.core import attachment
from nova_accel import exception
from nova_accel import rpc

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

api_conf.register_opts(CONF)

ATTACH = 'accel_attach'
DETACH = 'accel_detach'

_Key = tuple[str, str]
# Seconds between two looks at a detach that the guest has not answered.
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclasses.dataclass(frozen=True)
class _Watched:
    """A detach that has not ended yet.

    :ivar until: when to give up, by the monotonic clock.
    """

    context: nova_context.RequestContext
    until: float


class Worker:
    """Threads of this process, made when the first is needed."""

    def __init__(self, client: rpc.AccelAPI) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._busy: set[_Key] = set()
        self._watched: dict[_Key, _Watched] = {}

    @functools.cached_property
    def _attaching(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(
            CONF.accel_api.workers, thread_name_prefix='accel_attach'
        )

    @functools.cached_property
    def _watching(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(
            1, thread_name_prefix='accel_watch'
        )

    def close(self) -> None:
        """Wait for the threads; what they wait for is not waited for."""
        with self._lock:
            self._watched.clear()
        for pool in ('_attaching', '_watching'):
            if pool in self.__dict__:
                getattr(self, pool).shutdown()

    # Attach

    def attach(
        self, server: servers.Server, record: attachment.Attachment
    ) -> bool:
        """Attach what is reserved, in the background.

        :returns: False where a thread of this process does so already.
        """
        key = (server.uuid, record.id)
        with self._lock:
            if key in self._busy:
                return False
            self._busy.add(key)
        _note_once(server, record)
        self._attaching.submit(self._attach, server, key)
        return True

    def resume(self, server: servers.Server) -> None:
        """Take up what another process seems to have left."""
        for record in server.attachments.values():
            if record.state == attachment.ATTACHING and _is_old(record):
                if self.attach(server, record):
                    LOG.info(
                        'Accelerator %s of server %s is attaching since %s; '
                        'asking for it again',
                        record.id,
                        server.uuid,
                        record.updated,
                    )

    def _attach(self, server: servers.Server, key: _Key) -> None:
        try:
            # With a context of this thread's own.
            server = server.again()
            if self._is_within_limits(server, key[1]):
                self._client.attach(server.context, server.instance, key[1])
        except Exception as e:
            _tell(e, 'attach', key)
        finally:
            self._align(server.context, key[0])
            with self._lock:
                self._busy.discard(key)

    def _is_within_limits(self, server: servers.Server, id_: str) -> bool:
        """Look again, as nova does: others may have asked meanwhile."""
        if not permission.are_checked_again():
            return True
        record = self._client.claim(server.context, server.instance, id_)
        if record.state != attachment.ATTACHING:
            return False
        try:
            permission.check_limits(server, record.resource_class, 0)
        except exception.OverLimit as e:
            self._client.refuse(server.context, server.instance, id_, str(e))
            return False
        return True

    def _align(
        self, context: nova_context.RequestContext, server: str
    ) -> None:
        try:
            spec.align(context, server)
        except exception.ServerNotFound:
            LOG.info('Server %s was deleted meanwhile', server)
        except Exception:
            LOG.exception(
                'The RequestSpec of server %s could not be written; the next '
                'request on it, or nova-accel doctor, does so',
                server,
            )

    # Detach

    def watch(self, server: servers.Server, id_: str) -> None:
        """Write the RequestSpec once a detach is over.

        One thread waits for all of them.
        """
        with self._lock:
            idle = not self._watched
            until = time.monotonic() + CONF.accel_api.watch_detach
            self._watched[server.uuid, id_] = _Watched(server.context, until)
        if idle:
            self._watching.submit(self._watch)

    def _watch(self) -> None:
        rounds = 0
        while self._watched:
            time.sleep(_PAUSES[min(rounds, len(_PAUSES) - 1)])
            rounds += 1
            for key, watched in list(self._watched.items()):
                late = time.monotonic() > watched.until
                if self._is_over(watched.context, key) or late:
                    with self._lock:
                        self._watched.pop(key, None)

    def _is_over(
        self, context: nova_context.RequestContext, key: _Key
    ) -> bool:
        server, id_ = key
        try:
            record = servers.find(context, server).attachments.get(id_)
        except exception.ServerNotFound:
            return True
        except Exception as e:
            LOG.warning('Server %s cannot be looked at: %s', server, e)
            return False
        if record is not None and record.state == attachment.DETACHING:
            return False
        self._align(context, server)
        return True


def note(server: servers.Server, action: str) -> None:
    """Begin an action that the user finds in the server's list of events.

    nova-compute adds its event, found by the id of the request.
    """
    objects.InstanceAction.action_start(
        server.context, server.uuid, action, want_result=False
    )


def _note_once(server: servers.Server, record: attachment.Attachment) -> None:
    """Begin the action of an attach, unless its request has done so.

    What nova-compute refuses at once is none.
    """
    context = server.context.elevated()
    context.request_id = record.request_id or context.request_id
    try:
        if not objects.InstanceAction.get_by_request_id(
            context, server.uuid, context.request_id
        ):
            note(servers.Server(server.instance, context), ATTACH)
    except nova_exception.NovaException as e:
        LOG.warning(
            'Server %s has no action of attachment %s: %s',
            server.uuid,
            record.id,
            e,
        )


def _is_old(record: attachment.Attachment) -> bool:
    try:
        since = datetime.datetime.fromisoformat(record.updated)
    except ValueError:
        return True
    if since.tzinfo is None:
        since = since.replace(tzinfo=datetime.UTC)
    age = datetime.datetime.now(datetime.UTC) - since
    return bool(age.total_seconds() > CONF.accel_api.resume_after)


def _tell(error: Exception, verb: str, key: _Key) -> None:
    said: collections.abc.Callable[..., None] = LOG.exception
    if isinstance(error, exception.HotplugError):
        said = LOG.info
    elif isinstance(
        error, messaging.MessagingException | nova_exception.NovaException
    ):
        said = LOG.warning
    server, id_ = key
    said(
        'To %s accelerator %s of server %s did not work: %s',
        verb,
        id_,
        server,
        error,
    )
