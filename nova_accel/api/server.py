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
"""``nova-accel-api``: the service in a small server of its own.

For a trial, a demonstration, a test. A real cloud puts it behind the WSGI
server that it has for nova-api.
"""

import argparse
import collections.abc
import importlib
import os
import socketserver
import sys
import typing as ty
import wsgiref.simple_server

HOST = '127.0.0.1'
PORT = 8790

_EPILOG = """\
example:
  nova-accel-api --config-dir /etc/nova --host 0.0.0.0
  openstack service create --name accelerator-hotplug accelerator-hotplug
  openstack endpoint create accelerator-hotplug public http://HOST:8790

The service reads nova.conf as nova-api does: its databases, its messaging,
[keystone_authtoken], [placement] and [oslo_policy]. It has no database of
its own and may run any number of times.
"""


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    """One thread a request."""

    daemon_threads = True
    # Of connections that wait; 5 refuses some when many come at once.
    request_queue_size = 128


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    """The services log by themselves."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return str(self.client_address[0])


def serve(application: ty.Any, host: str, port: int) -> Server:
    """Bind; ``serve_forever`` of what is returned serves.

    :param port: 0 for any that is free.
    """
    return wsgiref.simple_server.make_server(
        host, port, application, server_class=Server, handler_class=Handler
    )


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='nova-accel-api',
        description='Serve the API that attaches accelerators to servers.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--config-dir',
        metavar='DIR',
        help='where nova.conf is (default: OS_NOVA_CONFIG_DIR, or /etc/nova)',
    )
    parser.add_argument('--host', default=HOST, help='(default: %(default)s)')
    parser.add_argument(
        '--port', type=int, default=PORT, help='(default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if args.config_dir is not None:
        os.environ['OS_NOVA_CONFIG_DIR'] = args.config_dir
    # Reads the configuration.
    application = importlib.import_module('nova_accel.api.wsgi').application
    try:
        server = serve(application, args.host, args.port)
    except OSError as e:
        print(
            f'cannot serve on {args.host}:{args.port}: {e.strerror}',
            file=sys.stderr,
        )
        return 1
    with server:
        print(f'serving on http://{args.host}:{server.server_port}')
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
