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
"""Puts the service together, in a process of its own or beside nova-api."""

import collections.abc
import os
import typing as ty

from keystonemiddleware import auth_token
from nova.api import auth
import nova.conf
from nova import config
from nova import objects
from oslo_log import log as logging
import oslo_middleware
from oslo_middleware import cors
from oslo_middleware import request_id

from nova_accel.api import app
from nova_accel.api import calls
from nova_accel.api import routes
from nova_accel.api import worker
from nova_accel import rpc

CONF = nova.conf.CONF

PROG = 'nova-accel-api'

Environ = dict[str, ty.Any]
Application = collections.abc.Callable[
    [Environ, ty.Any], collections.abc.Iterable[bytes]
]


class Public:
    """Lets what needs no token past the pipeline that asks for one."""

    def __init__(self, public: Application, protected: Application) -> None:
        self._public = public
        self._protected = protected

    def __call__(
        self, environ: Environ, start_response: ty.Any
    ) -> collections.abc.Iterable[bytes]:
        chosen = self._protected
        if routes.is_public(environ.get('PATH_INFO', '')):
            chosen = self._public
        return chosen(environ, start_response)


def application() -> app.Application:
    """Return the application without anything in front of it.

    nova's configuration is read by now, and its messaging set up.
    """
    objects.register_all()
    client = rpc.AccelAPI()
    return app.Application(calls.Service(client, worker.Worker(client)))


def pipeline(
    made: app.Application,
    authtoken: collections.abc.Mapping[str, ty.Any] | None = None,
) -> Application:
    """Put in front of it what nova-api has in front of its own.

    :param authtoken: for keystonemiddleware, as paste would give it.
    """
    protected = auth.NovaKeystoneContext(made)
    protected = auth_token.AuthProtocol(
        protected, {'oslo_config_config': CONF, **(authtoken or {})}
    )
    found: Application = Public(made, protected)
    # The last is the first to see a request.
    for middleware in (
        oslo_middleware.RequestBodySizeLimiter,
        oslo_middleware.CatchErrors,
        request_id.RequestId,
        cors.CORS,
        oslo_middleware.HTTPProxyToWSGI,
    ):
        found = middleware(found, CONF)
    return found


def load(files: collections.abc.Sequence[str] | None = None) -> Application:
    """Read nova's configuration and return the whole service.

    :param files: of nova's configuration; None for what the environment
        says, as nova-api reads it.
    """
    config.parse_args(
        [PROG],
        default_config_files=list(files or config_files(os.environ)),
        prog=PROG,
    )
    logging.setup(CONF, PROG)
    return pipeline(application())


def config_files(environ: collections.abc.Mapping[str, str]) -> list[str]:
    """Return nova's configuration files, by the variables that nova has.

    >>> config_files({'OS_NOVA_CONFIG_DIR': '/srv'})
    ['/srv/nova.conf']
    """
    folder = environ.get('OS_NOVA_CONFIG_DIR', '/etc/nova').strip()
    names = environ.get('OS_NOVA_CONFIG_FILES', '').split(';')
    found = [name for name in names if name and not name.endswith('.ini')]
    return [os.path.join(folder, name) for name in found or ['nova.conf']]


# For api-paste.ini


def app_factory(_global: Environ, **_local: ty.Any) -> Application:
    """Make what a pipeline of one's own can end in."""
    return application()


def composite_factory(
    loader: ty.Any, _global: Environ, keystone: str, **_local: ty.Any
) -> Application:
    """Make the service out of filters of nova-api's.

    :param keystone: their names, the outermost first; they ask for a token.
    """
    made = application()
    protected: Application = made
    for name in reversed(keystone.split()):
        protected = loader.get_filter(name)(protected)
    return Public(made, protected)
