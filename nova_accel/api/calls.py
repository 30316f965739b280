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
"""What a handler gets and what it gives."""

import collections.abc
import contextlib
import dataclasses
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
import oslo_messaging as messaging

from nova_accel.api import worker
from nova_accel import exception
from nova_accel import rpc


@dataclasses.dataclass(frozen=True)
class Service:
    """What all requests of a process share."""

    client: rpc.AccelAPI
    worker: worker.Worker


@dataclasses.dataclass(frozen=True)
class Call:
    """A request, read and found sound.

    :ivar context: None where no token is needed.
    :ivar parameters: of the path.
    :ivar body: what the schema of the route has let pass.
    :ivar base: URL of the application.
    """

    service: Service
    context: nova_context.RequestContext | None
    parameters: collections.abc.Mapping[str, str]
    body: ty.Any
    base: str

    @property
    def user(self) -> nova_context.RequestContext:
        """The context of the one who asks."""
        assert self.context is not None
        return self.context


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    :ivar body: None for none.
    """

    status: int
    body: dict[str, ty.Any] | None = None
    location: str | None = None


Handler = collections.abc.Callable[[Call], Answer]


@contextlib.contextmanager
def asking_node(server: str) -> ty.Iterator[None]:
    """Make errors of a call of nova-compute such as a user can read.

    :raises ServiceSilent: it does not answer.
    :raises ServerNotFound: the server was deleted meanwhile.
    """
    try:
        yield
    except nova_exception.InstanceNotFound as e:
        raise exception.ServerNotFound(server=server) from e
    except messaging.RemoteError:
        raise
    except messaging.MessagingException as e:
        raise exception.ServiceSilent(
            service='The compute service of the server'
        ) from e
