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
"""What ``nova-accel status upgrade check`` looks at."""

import argparse
import collections
import collections.abc
from importlib import metadata
import json

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_accel.cli import look
from nova_accel.cli import novaconf
from nova_accel.cli import planning
from nova_accel.cli import text
from nova_accel.cli import uri as uris
from nova_accel.conf import accel as accel_conf
from nova_accel.conf import sources
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import whitelist
from nova_accel import exception

Result = upgradecheck.Result
SUCCESS = upgradecheck.Code.SUCCESS
WARNING = upgradecheck.Code.WARNING
FAILURE = upgradecheck.Code.FAILURE

# The releases of nova that this version was tested with.
OLDEST_NOVA = NEWEST_NOVA = 34
OLDEST_LIBVIRT = (8, 0, 0)
TESTED_LIBVIRT = (9, 0, 0)
DRIVER = 'accel.LibvirtAccelDriver'
FILTER = 'nova_accel.scheduler.filters.AccelFilter'

_OPTIONS: dict[str | None, list[cfg.Opt]] = {
    None: [cfg.StrOpt('compute_driver', default='')],
    'filter_scheduler': [
        cfg.ListOpt('enabled_filters', default=[]),
        cfg.MultiStrOpt('available_filters', default=[]),
    ],
    'database': [cfg.StrOpt('connection', default='', secret=True)],
}


def configuration() -> cfg.ConfigOpts:
    """Return a configuration that knows the options to be looked at."""
    conf = cfg.ConfigOpts()
    for group, opts in _OPTIONS.items():
        conf.register_opts(opts, group=group)
    accel_conf.register_opts(conf)
    return conf


class Checks(upgradecheck.UpgradeCommands):
    """One run.

    :param args: says which host, see ``options.add_host``.
    :param nova: what nova.conf gives to servers.
    """

    def __init__(
        self, args: argparse.Namespace, nova: novaconf.NovaConf
    ) -> None:
        super().__init__()
        self._args = args
        self._nova = nova
        self._view: device.HostView | None = None
        self._node = inventory.Node('', look.NO_UUID)

    @property
    def _conf(self) -> cfg.ConfigOpts:
        # Set by upgradecheck.main, once it has read the files.
        conf = upgradecheck.CONF
        assert conf is not None
        return conf

    def _nova_version(self) -> Result:
        try:
            found = metadata.version('nova')
        except metadata.PackageNotFoundError:
            return Result(
                FAILURE,
                'nova is not installed in the environment of this command; '
                'install nova_accel where nova is.',
            )
        major = int(found.partition('.')[0])
        if major < OLDEST_NOVA:
            return Result(
                FAILURE,
                f'nova is {found}; this version needs {OLDEST_NOVA}.0.0 or '
                f'later.',
            )
        if major > NEWEST_NOVA:
            return Result(
                WARNING,
                f'nova is {found}; this version was tested with '
                f'{NEWEST_NOVA}.',
            )
        return Result(SUCCESS, f'nova is {found}.')

    def _seams(self) -> Result:
        try:
            from nova import objects

            objects.register_all()
            from nova_accel.virt import seams
        except ImportError as error:
            return Result(FAILURE, f'nova cannot be imported: {error}.')
        broken = seams.broken()
        if broken:
            return Result(
                FAILURE,
                f'nova is not what nova_accel builds on: {"; ".join(broken)}.',
            )
        return Result(SUCCESS, None)

    def _driver(self) -> Result:
        found = self._conf.compute_driver
        if found == DRIVER:
            return Result(SUCCESS, None)
        if not found:
            return Result(SUCCESS, 'None is set here: not a compute host.')
        return Result(
            WARNING,
            f'compute_driver is {found}: nova-compute of this '
            f'host does not use nova_accel. For it to, write {DRIVER}.',
        )

    def _whitelist(self) -> Result:
        paths = accel_conf.paths(self._conf)
        try:
            rules = sources.load(paths).rules
        except exception.InvalidWhitelist as error:
            return Result(
                FAILURE,
                f'nova-compute does not start with it: '
                f'{"; ".join(map(str, error.problems))}.',
            )
        if not rules:
            return Result(
                SUCCESS,
                'There is none, or none with rules: nothing is offered.',
            )
        files = ', '.join(sources.find(paths))
        return Result(SUCCESS, f'{text.count(len(rules), "rule")} in {files}.')

    def _owners(self) -> Result:
        """Whether options of nova and ours claim the same device."""
        try:
            rules = sources.load(accel_conf.paths(self._conf))
            view = self._look()
        except exception.AccelError as error:
            return Result(WARNING, f'It cannot be checked: {error}.')
        options = {
            dev.name: rule.option
            for rule in planning.plan(self._nova, view).rules
            for given in rule.given
            for dev in given.functions
        }
        return _shared(self._node, rules, view, options)

    def _look(self) -> device.HostView:
        if self._view is None:
            name, self._view, _guests = look.read_host(self._args)
            self._node = inventory.Node(name, look.NO_UUID)
        return self._view

    def _libvirt(self) -> Result:
        try:
            found = look.libvirt_version(self._args)
        except exception.BackendUnavailable as error:
            said = uris.scrub(str(error), self._args.connect)
            return Result(FAILURE, f'{said}.')
        words = _dotted(found)
        if found < OLDEST_LIBVIRT:
            return Result(
                FAILURE,
                f'libvirt is {words}; nova and nova_accel need '
                f'{_dotted(OLDEST_LIBVIRT)} or later.',
            )
        if found < TESTED_LIBVIRT:
            return Result(
                WARNING,
                f'libvirt is {words}; this version was tested with '
                f'{_dotted(TESTED_LIBVIRT)} and later.',
            )
        return Result(SUCCESS, f'libvirt is {words}.')

    def _scheduler(self) -> Result:
        section = self._conf.filter_scheduler
        enabled, available = section.enabled_filters, section.available_filters
        if not enabled and not available:
            return Result(
                SUCCESS,
                'Not checked: no filters are named here. Run this where '
                'nova-scheduler runs, too.',
            )
        is_enabled = FILTER.rpartition('.')[2] in enabled
        if is_enabled and FILTER not in available:
            return Result(
                FAILURE,
                f'AccelFilter is enabled, and available_filters does not '
                f'name {FILTER}: nova-scheduler does not start.',
            )
        if not is_enabled:
            return Result(
                WARNING,
                'AccelFilter is not in enabled_filters: requests for a model '
                'that a card cannot serve are found out on the host only.',
            )
        return Result(SUCCESS, None)

    def _capabilities(self) -> Result:
        """Whether all versions that hosts publish can be read."""
        url = self._conf.database.connection
        if not url:
            return Result(
                SUCCESS,
                'Not checked: no [database]connection here. Run this where '
                'nova-conductor runs, too.',
            )
        try:
            published = list(_published(url))
        except Exception as error:
            return Result(
                WARNING,
                f'The database cannot be read: {type(error).__name__}.',
            )
        return _versions(published)

    _upgrade_checks = (
        ('Nova: version', _nova_version),
        ('Nova: what nova_accel builds on', _seams),
        ('Nova: driver', _driver),
        ('Whitelist', _whitelist),
        ('Devices: one owner each', _owners),
        ('libvirt', _libvirt),
        ('Scheduler: filter', _scheduler),
        ('Scheduler: published capabilities', _capabilities),
    )


def _shared(
    node: inventory.Node,
    rules: whitelist.Whitelist,
    view: device.HostView,
    options: collections.abc.Mapping[str, str],
) -> Result:
    offer = inventory.offer(
        node,
        rules,
        view.devices,
        elsewhere=lambda dev: options.get(dev.name),
    )
    found = [
        f'{entry.device.address} by rule '
        f'{", ".join(rule.name for rule in entry.rules)} and by '
        f'{options[entry.device.name]}'
        for entry in offer.withheld
        if entry.device.name in options
    ]
    if found:
        return Result(
            FAILURE,
            f'Claimed twice, and nova-compute does not start: '
            f'{"; ".join(found)}. See "nova-accel migrate plan".',
        )
    if offer.withheld:
        return Result(
            WARNING,
            f'{text.count(len(offer.withheld), "device")} named by rules '
            f'cannot be offered; "nova-accel check" says why.',
        )
    return Result(SUCCESS, None)


def _dotted(version: collections.abc.Iterable[int]) -> str:
    return '.'.join(map(str, version))


def _published(url: str) -> collections.abc.Iterator[tuple[str, str]]:
    """Yield each compute node and the version that it publishes."""
    import sqlalchemy

    from nova_accel.objects import publication

    engine = sqlalchemy.create_engine(url)
    query = sqlalchemy.text(
        'SELECT hypervisor_hostname, stats FROM compute_nodes '
        'WHERE deleted = 0'
    )
    with engine.connect() as connection:
        for node, stats in connection.execute(query):
            said = json.loads(stats or '{}').get(publication.KEY)
            if said:
                yield str(node), publication.version(said)


def _versions(
    published: collections.abc.Sequence[tuple[str, str]],
) -> Result:
    from nova_accel.objects import vgpu_capabilities

    ours = vgpu_capabilities.VGPUCapabilities.VERSION
    count = collections.Counter(version for _node, version in published)
    said = ', '.join(
        f'{text.count(number, "host")} with {version or "what we cannot read"}'
        for version, number in sorted(count.items())
    )
    major = ours.partition('.')[0]
    others = [
        node
        for node, version in published
        if version.partition('.')[0] != major
    ]
    if others:
        return Result(
            WARNING,
            f'{said}. This version reads {major}.x: its scheduler goes '
            f'without what {text.some(sorted(others))} publish.',
        )
    return Result(SUCCESS, f'{said or "No host publishes any yet"}.')
