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
"""Take the look that ``survey`` describes: read files, ask libvirt.

libvirt and YAML are imported when they are needed, so that --help and wrong
usage answer at once.
"""

import argparse
import collections.abc
import contextlib
import dataclasses
import typing as ty

from nova_accel.cli import options
from nova_accel.cli import survey
from nova_accel.cli import uri as uris
from nova_accel.cli import xapi
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import topology
from nova_accel.core import whitelist
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.conf import sources

# Stands for the compute node's uuid, which only nova and Placement know.
NO_UUID = '00000000-0000-0000-0000-000000000000'


def look(args: argparse.Namespace) -> survey.Survey:
    """Read the whitelist and the host that the options name."""
    found = survey.Survey(
        uri=uris.shown(args.connect),
        local=uris.is_local(args.connect),
        node=inventory.Node(
            args.node or '',
            args.node_uuid or NO_UUID,
            hotplug=not xapi.is_meant(args.connect),
        ),
        node_uuid_known=args.node_uuid is not None,
    )
    rules, found = _with_files(found, args)
    try:
        return _with_host(found, rules, args)
    except exception.BackendUnavailable as error:
        return dataclasses.replace(
            found, failure=uris.scrub(str(error), args.connect)
        )


def _with_files(
    found: survey.Survey, args: argparse.Namespace
) -> tuple[whitelist.Whitelist, survey.Survey]:
    from nova_accel.conf import sources

    paths = _paths(args)
    searched = (paths.config, *paths.further, paths.config_dir)
    found = dataclasses.replace(found, searched=tuple(filter(None, searched)))
    try:
        rules = sources.load(paths)
    except exception.InvalidWhitelist as error:
        return whitelist.Whitelist(), dataclasses.replace(
            found, problems=error.problems
        )
    return rules, dataclasses.replace(found, files=sources.find(paths))


def _paths(args: argparse.Namespace) -> 'sources.Paths':
    """What to read: what the options name, or else what is installed."""
    from nova_accel.conf import sources

    if args.config or args.config_dir:
        first, *further = args.config or ['']
        return sources.Paths(
            first, args.config_dir or '', further=tuple(further)
        )
    return sources.Paths(
        options.CONFIG,
        options.CONFIG_DIR,
        optional=frozenset({options.CONFIG, options.CONFIG_DIR}),
    )


def _with_host(
    found: survey.Survey,
    rules: whitelist.Whitelist,
    args: argparse.Namespace,
) -> survey.Survey:
    name, view, _guests = read_host(args)
    node = dataclasses.replace(found.node, name=name)
    return dataclasses.replace(
        found,
        node=node,
        view=view,
        offer=inventory.offer(node, rules, view.devices),
    )


def read_host(
    args: argparse.Namespace, guests: bool = False
) -> tuple[str, device.HostView, tuple[device.Guest, ...]]:
    """Return the node's name, its devices, and its guests if they are wanted.

    :raises BackendUnavailable: the hypervisor cannot be asked.
    """
    if xapi.is_meant(args.connect):
        name, view, found = xapi.read(args.connect, guests)
        return args.node or name, view, found
    with _connected(args) as conn:
        from nova_accel.backends.libvirt import backend

        host = backend.LibvirtBackend(lambda: conn)
        view = host.discover(full=True)
        found = host.guests() if guests else ()
        name = args.node or conn.getHostname()
    devices = tuple(sorted(view.devices, key=topology.order))
    return name, dataclasses.replace(view, devices=devices), found


def libvirt_version(args: argparse.Namespace) -> tuple[int, int, int]:
    """Return the version of libvirt on the host.

    :raises BackendUnavailable: libvirt cannot be asked.
    """
    with _connected(args) as conn:
        found = conn.getLibVersion()
    return found // 1_000_000, found // 1000 % 1000, found % 1000


@contextlib.contextmanager
def _connected(
    args: argparse.Namespace,
) -> collections.abc.Iterator[ty.Any]:
    try:
        import libvirt
        import lxml  # noqa: F401
    except ImportError as error:
        raise exception.BackendUnavailable(
            reason=f"{error}; install libvirt's Python binding and lxml "
            f'(python3-libvirt and python3-lxml, or with pip '
            f'nova-accel[libvirt])'
        ) from error
    # libvirt would print every error by itself, once more.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        with contextlib.closing(libvirt.openReadOnly(args.connect)) as conn:
            yield conn
    except libvirt.libvirtError as error:
        raise exception.BackendUnavailable(
            reason=f'{uris.shown(args.connect)}: {error}'
        ) from error
