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
"""Our own transport below the XenAPI binding, which has no time-outs.

One connection, used by one thread at a time.
"""

import collections.abc
import http.client
import select
import ssl
import typing as ty
import xmlrpc.client

from nova_accel.backends.xapi import settings
from nova_accel import exception


def context(options: settings.Settings) -> ssl.SSLContext:
    """Return what certificates of XAPI are checked with.

    :raises XapiUnavailable: the file of them cannot be read.
    """
    try:
        made = ssl.create_default_context(cafile=options.ca_file or None)
    except OSError as error:
        raise exception.XapiUnavailable(
            reason=f'the certificates in [accel_xapi]ca_file '
            f'{options.ca_file!r} cannot be read: {error}'
        ) from None
    if options.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


class Transport(xmlrpc.client.Transport):
    """Sends a request once, and tells whether it may have arrived.

    The library's own would send it again when the connection breaks, and
    make a server twice.

    :param tls: None: the connection is not encrypted.
    :ivar timeout: seconds for the next answer.
    :ivar sent: the last request may have been carried out.
    """

    def __init__(self, tls: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__()
        self._tls = tls
        self.timeout = timeout
        self.sent = False

    def request(
        self,
        host: ty.Any,
        handler: str,
        request_body: ty.Any,
        verbose: bool = False,
    ) -> ty.Any:
        self.sent = False
        return self.single_request(host, handler, request_body, verbose)

    def make_connection(self, host: ty.Any) -> http.client.HTTPConnection:
        kept = self._kept(host)
        if kept is not None:
            return kept
        made: http.client.HTTPConnection = (
            http.client.HTTPConnection(host, timeout=self.timeout)
            if self._tls is None
            else http.client.HTTPSConnection(
                host, timeout=self.timeout, context=self._tls
            )
        )
        # Until here nothing can have been carried out.
        made.connect()
        self._extra_headers: list[ty.Any] = []
        self._connection = host, made
        return made

    def _kept(self, host: ty.Any) -> http.client.HTTPConnection | None:
        """The connection of last time, unless the server has closed it."""
        known, kept = self._connection or (None, None)
        if kept is None or known != host or kept.sock is None:
            return None
        if select.select([kept.sock], [], [], 0)[0]:
            kept.close()
            return None
        kept.sock.settimeout(self.timeout)
        return kept

    def send_content(
        self,
        connection: http.client.HTTPConnection,
        request_body: ty.Any,
    ) -> None:
        self.sent = True
        super().send_content(connection, request_body)


# What a broken or silent connection raises.
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    http.client.HTTPException,
    xmlrpc.client.ProtocolError,
)
Headers = collections.abc.Mapping[str, str]
