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
"""``nova-accel-xapi-simulator``: a XenServer pool for any XenAPI client."""

import argparse
import ipaddress
import signal
import sys
import threading
import types

from nova_accel import exception
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology

_EPILOG = """
example:
  $ nova-accel-xapi-simulator --topology two-hosts --listen 127.0.0.1:8080
  xen1 (master) http://127.0.0.1:8080
  xen2 http://127.0.0.2:8080

  $ python3
  >>> import XenAPI
  >>> session = XenAPI.Session('http://127.0.0.1:8080')
  >>> session.xenapi.login_with_password('root', 'password')
  >>> for gpu in session.xenapi.PGPU.get_all_records().values(): print(gpu)

Hosts of a pool answer on one port: the first at the address of --listen, the
next ones at the addresses after it. A host that is not master answers
HOST_IS_SLAVE.

A topology is a YAML file; those that ship are named without a path. What goes
wrong is written there (faults), or told while it runs:

  $ curl http://127.0.0.1:8080/simulator/faults \\
      -d '{"message": "VM.start_on", "error": ["HOST_DISABLED", "$host"]}'
  $ curl http://127.0.0.1:8080/simulator/leftovers

It follows XAPI's published data model; it has never been compared with a Xen
host. Exit status: 0 after an interrupt, 1 when the topology is wrong or an
address is taken, 2 on wrong usage.
"""


def _listen(text: str) -> tuple[str, int]:
    address, colon, port = text.rpartition(':')
    try:
        ip = ipaddress.ip_address(address.strip('[]'))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not HOST:PORT with an IP address, like '
            f'127.0.0.1:8080'
        ) from None
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f'{port!r} is not a port')
    return str(ip), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='nova-accel-xapi-simulator',
        description='Answer XAPI over HTTP as a XenServer or XCP-ng pool '
        'with GPUs\nwould, without Xen.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--topology',
        metavar='FILE',
        required=True,
        help='what the pool is made of: a YAML file, or one of those that '
        f'ship: {", ".join(topology.shipped())}',
    )
    parser.add_argument(
        '--listen',
        metavar='HOST:PORT',
        type=_listen,
        default=('127.0.0.1', 0),
        help='IP address of the first host, and port of all; port 0 takes '
        'a free one (default: 127.0.0.1:0)',
    )
    parser.add_argument(
        '--certificate',
        metavar='PEM',
        default='',
        help='answer by TLS with this certificate and key, both in one file',
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Answer until interrupted or terminated."""
    options = _parser().parse_args(arguments)
    address, port = options.listen
    try:
        found = topology.load(options.topology)
        simulator = server.Simulator(found, address, port, options.certificate)
    except exception.InvalidTopology as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f'cannot answer at {address}:{port}: {error.strerror or error}; '
            f'choose another with --listen, or correct --certificate',
            file=sys.stderr,
        )
        return 1
    _serve(simulator)
    return 0


def _serve(simulator: server.Simulator) -> None:
    done = threading.Event()

    def stop(number: int, frame: types.FrameType | None) -> None:
        done.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with simulator:
        for name, url in simulator.urls.items():
            mark = ' (master)' if url == simulator.url else ''
            print(f'{name}{mark} {url}', flush=True)
        done.wait()
