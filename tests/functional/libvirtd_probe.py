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
"""Discovers through a real libvirtd; run as a program of its own.

A process that has patched its threads for eventlet, or loaded nova's stand-in
for libvirt, proves nothing here. Prints one line of JSON, and another one
after each line it reads.
"""

import collections
import dataclasses
import json
import sys
import threading

import libvirt

from nova_accel.backends import libvirt as backend
from nova_accel import exception

LOCAL = {'name', 'isAlive', 'getURI'}


class Counting:
    """Passes everything on, and counts what goes over the wire."""

    def __init__(self, inner, calls):
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        def call(*args):
            if name not in LOCAL:
                self._calls[name] += 1
            result = method(*args)
            if isinstance(result, list):
                return [Counting(one, self._calls) for one in result]
            return result

        return call


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def report(found, calls, before):
    calls.clear()
    try:
        view = found.discover()
        cold = dict(calls)
        calls.clear()
        again = found.discover()
    except exception.BackendUnavailable as error:
        return before, {'error': str(error)}
    return view, {
        'devices': [
            {**dataclasses.asdict(one), 'address': str(one.address)}
            for one in view.devices
        ],
        'cold': cold,
        'steady': dict(calls),
        'same': again is view,
        'same_as_before': view is before,
    }


def main(uri):
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()
    calls = collections.Counter()
    found = backend.LibvirtBackend(
        lambda: Counting(libvirt.open(uri), calls),
        wrap=lambda handle: (
            handle if isinstance(handle, Counting) else Counting(handle, calls)
        ),
    )
    view = None
    while True:
        view, said = report(found, calls, view)
        print(json.dumps(said), flush=True)
        if not sys.stdin.readline():
            return


main(sys.argv[1])
