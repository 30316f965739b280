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
"""Services that are born with their libraries already imported.

Fourteen services of the cloud import much the same, which is half of what it
costs to start them. So one process imports what all share; of its children
each imports what one family shares; and a service begins as a fork of that.

    python -m tests.cloud.harness.nest FOLDER
"""

import collections.abc
import contextlib
import importlib
import json
import os
import pathlib
import runpy
import signal
import socket
import sys
import threading
import typing as ty

from tests.cloud.harness import settings
from tests.lab.harness import process

NOVA, NEUTRON, OTHERS = 'nova', 'neutron', 'others'
# Nothing that chooses how threads are made: that is for each family to say.
_SHARED = (
    *('alembic', 'cryptography.x509', 'jsonschema', 'keystoneauth1.loading'),
    *('keystonemiddleware.auth_token', 'lxml.etree', 'oslo_db.options'),
    *('oslo_db.sqlalchemy.enginefacade', 'oslo_log.log', 'oslo_middleware'),
    *('oslo_policy.policy', 'oslo_serialization.jsonutils', 'paste.deploy'),
    *('pymysql', 'routes', 'sqlalchemy.orm', 'webob.dec'),
)
_FAMILIES = {
    NOVA: (
        *('nova.cmd.compute', 'nova.cmd.conductor', 'nova.cmd.scheduler'),
        *('nova.api.openstack.compute', 'nova.api.openstack.wsgi_app'),
        # No manager: how often it does what is read when it is imported.
        *('nova_accel.virt.drivers', 'vif_plug_ovs.ovs'),
        'oslo_messaging._drivers.impl_rabbit',
    ),
    NEUTRON: (
        *('neutron.cmd.server', 'neutron.server.api'),
        *('neutron.cmd.agents.ovs_neutron_agent', 'neutron.api.v2.router'),
        'neutron.plugins.ml2.plugin',
    ),
    OTHERS: (),
}
_REQUEST = 1 << 16


class Nest:
    """The process, as it is seen from outside."""

    def __init__(self, cloud: settings.Settings) -> None:
        self._cloud = cloud
        self._folder = cloud.run / 'nest'
        self.daemon = process.Daemon('nest', self._folder)

    def start(self, env: collections.abc.Mapping[str, str]) -> None:
        """Start it.

        :param env: of every service that is born here.
        """
        self._folder.mkdir(parents=True)
        module = ('-m', 'tests.cloud.harness.nest')
        python = self._cloud.tool('python')
        self.daemon.start([python, *module, str(self._folder)], env=env)

    def bear(
        self,
        family: str,
        child: process.Daemon,
        words: collections.abc.Sequence[str],
    ) -> None:
        """Start a Python program as a daemon.

        :param words: script or ``python -m module``, and its options.
        :raises LabError: the nest has ended; with what it said.
        """
        request = {'words': words, 'log': str(child.log)}
        child.log.parent.mkdir(parents=True, exist_ok=True)
        file = str(_socket(self._folder, family))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:

            def connected() -> bool:
                return caller.connect_ex(file) == 0

            process.wait_for(f'nest of {family}', connected, 120, self.daemon)
            caller.send(json.dumps(request).encode())
            child.adopt(int(caller.recv(_REQUEST)))

    def stop(self) -> None:
        """End it; whom it bore lives on."""
        self.daemon.stop()


def _socket(folder: pathlib.Path, family: str) -> pathlib.Path:
    return folder / f'{family}.socket'


# Inside


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    # Some look there for options when they are imported.
    del sys.argv[1:]
    _import(_SHARED)
    for family, modules in _FAMILIES.items():
        if os.fork() == 0:
            _import(modules)
            _run(_serve(_socket(folder, family)))
            return
    # One ends if it fails, or when all shall: then no other stays behind.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.wait()
    os.killpg(0, signal.SIGTERM)
    for _ in range(len(_FAMILIES) - 1):
        os.wait()


def _import(modules: collections.abc.Iterable[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    if threading.active_count() > 1:
        sys.exit('an import has made a thread, which no fork would have')


def _serve(file: pathlib.Path) -> list[str]:
    """Fork for every request; return in the children, with their words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(file))
        listener.listen()
        while True:
            caller, _ = listener.accept()
            with caller:
                request = json.loads(caller.recv(_REQUEST))
                if _detached():
                    _settle(request['log'])
                    caller.send(str(os.getpid()).encode())
                    return ty.cast(list[str], request['words'])


def _detached() -> bool:
    """Fork; tell whether we are the child, who is no child of ours then."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
    elif os.fork():
        os._exit(0)
    return not middle


def _settle(log: str) -> None:
    """Become what a daemon is: see ``process.Daemon.start``."""
    os.setsid()
    os.chdir(os.path.dirname(log))
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        file = os.open(name, flags, 0o644)
        os.dup2(file, number)
        os.close(file)
    os.dup2(1, 2)


def _run(words: list[str]) -> None:
    # What ps shows; neutron brings the package.
    with contextlib.suppress(ImportError):
        importlib.import_module('setproctitle').setproctitle(' '.join(words))
    if words[1:2] == ['-m']:
        sys.argv[1:] = words[3:]
        runpy.run_module(words[2], run_name='__main__', alter_sys=True)
    else:
        sys.argv[:] = words
        runpy.run_path(words[0], run_name='__main__')


if __name__ == '__main__':
    main()
