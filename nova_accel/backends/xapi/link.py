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
"""One session of XAPI over one connection of ours.

The PyPI binding logs in anew by itself where a session has ended.
"""

import contextlib
import typing as ty
import xmlrpc.client

from nova_accel.backends.xapi import errors
from nova_accel.backends.xapi import settings
from nova_accel.backends.xapi import transport
from nova_accel import exception

try:
    import XenAPI
except ImportError:
    # Only hosts with XenServer or XCP-ng need it.
    XenAPI = None


class _NoFailure(Exception):
    details: ty.ClassVar[list[str]] = []


Failure: ty.Any = XenAPI.Failure if XenAPI else _NoFailure

_VERSION = '1.0'
_ORIGINATOR = 'nova-accel'


class Link:
    """A session with one member of a pool.

    Not to be used by two threads at a time.
    """

    def __init__(self, options: settings.Settings, url: str) -> None:
        if XenAPI is None:
            raise exception.XapiUnavailable(
                reason='the Python package XenAPI is missing; install it '
                'with pip install nova-accel[xenapi]'
            )
        self.url = url
        tls, _host, _port = settings.endpoint(url)
        self._options = options
        self._transport = transport.Transport(
            transport.context(options) if tls else None, options.timeout
        )
        self._session = XenAPI.Session(url, transport=self._transport)

    def login(self) -> None:
        """Log in.

        :raises Failure: wrong password, or not the master.
        """
        self._transport.timeout = self._options.timeout
        self._session.login_with_password(
            self._options.username,
            self._options.password,
            _VERSION,
            _ORIGINATOR,
        )

    @property
    def handle(self) -> str:
        """The session, for requests other than calls."""
        return str(self._session.handle)

    @property
    def sent(self) -> bool:
        """Whether the last request may have been carried out."""
        return self._transport.sent

    def request(
        self, message: str, args: tuple[object, ...], timeout: float
    ) -> ty.Any:
        """Call once; log in anew if the session has ended.

        :param args: encoded already.
        :raises Failure: XAPI's answer.
        """
        self._transport.timeout = timeout
        try:
            return self._session.xenapi_request(message, args)
        except xmlrpc.client.Fault as fault:
            # Of the binding's own: it could not log in, or of a server that
            # speaks no XAPI.
            raise exception.XapiUnavailable(
                reason=f'{message}: {fault.faultString}'
            ) from None

    def close(self) -> None:
        """Close the connection; the session ends by itself."""
        self._transport.close()

    def logout(self) -> None:
        """End the session, if it can be done quickly."""
        with contextlib.suppress(
            Failure, xmlrpc.client.Fault, *transport.BROKEN
        ):
            self._transport.timeout = min(5.0, self._options.timeout)
            self._session.xenapi_request('session.logout', ())
        self.close()


def is_moved(failure: Failure) -> bool:
    """Tell that another member is the master now."""
    return bool(failure.details) and failure.details[0] == errors.HOST_IS_SLAVE
