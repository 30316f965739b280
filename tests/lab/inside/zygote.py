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
"""Holds nova in memory and forks: nova-compute starts at once, not in minutes.

Emulated, the interpreter takes a minute or two to load nova's two thousand
modules. So one process loads them while the machine starts, and every
nova-compute and privsep-helper is a fork of it. Only what is not ours is
loaded beforehand: the driver under test is read from its sources each time.

A request is a line of JSON, ``{"entry", "argv", "env", "cwd", "log", "group",
"wait"}``; the answer is the process's id or, with ``wait``, its exit code.
``entry`` is ``module:function``, ``group`` the process group to join, 0 for a
new one.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import typing as ty

SOCKET = '/run/zygote'
_MODULES = (
    # It looks at every module that is loaded: so it is the first.
    'vif_plug_ovs.ovs',
    *('nova.cmd.compute', 'nova.compute.manager', 'nova.service'),
    *('nova.virt.libvirt.driver', 'nova.virt.libvirt.imagebackend'),
    *('nova.conductor.rpcapi', 'nova.scheduler.client.report'),
    *('nova.servicegroup.drivers.db', 'nova.privsep.qemu'),
    *('nova.privsep.path', 'nova.privsep.libvirt', 'nova.privsep.fs'),
    *('nova.virt.disk.vfs.guestfs', 'nova.image.glance'),
    *('nova.network.neutron', 'nova.volume.cinder'),
    *('neutronclient.v2_0.client', 'glanceclient.v2.client'),
    *('oslo_messaging._drivers.impl_rabbit', 'oslo_privsep.daemon'),
    *('kombu.transport.pyamqp', 'keystoneauth1.loading._plugins.admin_token'),
    *('oslo_service.backend._threading.service', 'cotyledon'),
    *('vif_plug_noop.noop', 'lxml.etree', 'libvirt'),
    *('jsonschema', 'os_traits', 'os_resource_classes', 'rich.table'),
)


def load() -> None:
    # A third of the time would go into looking for garbage.
    gc.disable()
    from nova import monkey_patch

    monkey_patch.patch(backend='threading')
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as exc:
            # It is loaded later, by whom it serves, or fails there.
            print(f'zygote: {exc}', flush=True)
    from stevedore import _cache

    _cache.get_group_all('os_vif')
    # Collections would otherwise copy every page that is shared.
    gc.collect()
    gc.freeze()
    gc.enable()


def files() -> list[str]:
    """Return the files that were read for what is loaded, in that order."""
    found = []
    for module in list(sys.modules.values()):
        cached = getattr(module, '__cached__', None)
        found.append(cached or getattr(module, '__file__', None))
    return [name for name in found if name and os.path.exists(name)]


def serve() -> ty.NoReturn:
    server = socket.socket(socket.AF_UNIX)
    if os.path.exists(SOCKET):
        os.unlink(SOCKET)
    server.bind(SOCKET)
    server.listen(8)
    # Nobody waits for the forks: the kernel forgets them when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print('zygote: ready', flush=True)
    while True:
        conn, _peer = server.accept()
        with conn:
            if os.fork():
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            request = json.loads(conn.makefile().readline())
            if request['wait']:
                attend(conn, request)
            become(conn, request)


def attend(conn: socket.socket, request: dict[str, ty.Any]) -> None:
    """Return in a child; wait for it here and tell how it ended."""
    child = os.fork()
    if not child:
        return
    _pid, status = os.waitpid(child, 0)
    conn.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(conn: socket.socket, request: dict[str, ty.Any]) -> ty.NoReturn:
    try:
        os.setpgid(0, request['group'])
    except PermissionError:
        # Who asks is of another session: the lab, not nova-compute.
        os.setpgid(0, 0)
    if not request['wait']:
        conn.sendall(str(os.getpid()).encode())
    conn.close()
    log = os.open(request['log'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['env'])
    # The sources were not there yet when the others were loaded.
    importlib.invalidate_caches()
    module, _colon, function = request['entry'].partition(':')
    sys.argv = [module, *request['argv']]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == '__main__':
    # A process may join groups of its own session only.
    os.setsid()
    load()
    serve()
