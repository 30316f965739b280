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
"""Asks all four witnesses about this host, from beside nova-compute.

The same nova.conf, driver, RPC and credentials: so the answers are those
that nova-compute would get. Nova's records come from the conductor, since a
compute host has no database.
"""

import collections.abc
import contextlib
import dataclasses
import functools
import importlib
import logging
import os
import shlex
import typing as ty

from nova_accel.cli import compute
from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import remapping
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.core import inventory
    from nova_accel import device_rpc
    from nova_accel import manager
    from nova_accel.virt import wards

PREFIX = 'accel.'

_A = ty.TypeVar('_A')


@dataclasses.dataclass(frozen=True)
class Visit:
    """A host, and whom to ask about it.

    :ivar host: as ``[DEFAULT]host`` names it.
    :ivar accel: has looked at the devices; takes part in nothing.
    :ivar client: nova's report client.
    :ivar context: an administrator's.
    """

    host: str
    accel: 'manager.Manager'
    client: ty.Any
    context: ty.Any

    def look(self) -> facts.Facts:
        """Ask everybody anew.

        :raises WitnessUnavailable: one does not answer.
        """
        from nova_accel.virt import audit

        return audit.look(
            self.context, self.host, self.accel, self.client, running=False
        )

    def wards(self) -> 'tuple[wards.Ward, ...]':
        """Return each device, and whether it is in service.

        :raises WitnessUnavailable: somebody does not answer.
        """
        from nova_accel.virt import wards

        return wards.wards(*self.recognised())

    def recognised(self) -> 'tuple[facts.Facts, inventory.Service]':
        """Ask everybody, and go by what Placement says of who is who.

        :raises WitnessUnavailable: somebody does not answer.
        """
        found = self.look()
        known = {
            rp: placed.known
            for rp, placed in found.providers.items()
            if placed.known is not None
        }
        self.accel.providers(found.node, known)
        found = dataclasses.replace(found, offer=self.accel.now.offer)
        return found, self.accel.service

    def remap(
        self, plan: remapping.Plan, dry_run: bool
    ) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """Write an operator's word on who is who.

        :returns: provider -> traits that were added and taken back.
        :raises NotWritten: Placement did not take it.
        """
        from nova_accel.virt import wards

        changes = {}
        # Last the one that says so: no two say different things meanwhile.
        others = sorted(
            provider
            for provider, one in self.accel.known.items()
            if provider != plan.provider
            and plan.traits(provider, one.traits) != one.traits
        )
        for provider in (*others, plan.provider):
            changed = wards.rewrite(
                self.context,
                self.client,
                provider,
                functools.partial(plan.traits, provider),
                dry_run,
            )
            if any(changed):
                changes[provider] = changed
        return changes

    def tell(self, discover: bool, seconds: int) -> str | None:
        """Have nova-compute go by what Placement says now.

        :returns: why it did not, or None.
        """
        return self._call(
            seconds, lambda api: api.refresh(self.context, self.host, discover)
        )[0]

    def attend(
        self, device: str, seconds: int, again: bool = False
    ) -> tuple[str | None, list[str]]:
        """Have nova-compute obey, and clean or prepare what is due.

        :param again: also what has failed before.
        :returns: why it did not answer, or None; why some of it failed.
        """
        failure, reasons = self._call(
            seconds,
            lambda api: api.attend(self.context, self.host, device, again),
        )
        return failure, reasons or []

    def declare_clean(self, device: str, seconds: int) -> str | None:
        """Tell nova-compute that a device is clean.

        :returns: why it did not answer, or None.
        """
        return self._call(
            seconds,
            lambda api: api.declare_clean(self.context, self.host, device),
        )[0]

    def _call(
        self,
        seconds: int,
        ask: 'collections.abc.Callable[[device_rpc.DevicesAPI], _A]',
    ) -> tuple[str | None, _A | None]:
        import oslo_messaging as messaging

        from nova_accel import device_rpc

        try:
            return None, ask(device_rpc.DevicesAPI(seconds))
        except (messaging.MessagingException, exception.AccelError) as error:
            return str(error), None

    def findings(self) -> tuple[facts.Facts, tuple[invariant.Finding, ...]]:
        """Return what stands when looked at twice.

        While one witness is asked, a server may come or go.
        """
        found = self.look()
        findings = invariant.check(found)
        if not findings:
            return found, ()
        found = self.look()
        again = frozenset(invariant.check(found))
        return found, tuple(f for f in findings if f in again)

    def treat(
        self, findings: collections.abc.Iterable[invariant.Finding]
    ) -> tuple[invariant.Outcome, ...]:
        """Repair what is safe."""
        from nova_accel.virt import repair

        surgeon = repair.Surgeon(self.context, self.accel, self.client)
        return surgeon.treat(findings)


def begin(read_only: bool) -> Visit:
    """Connect to everybody. ``configure`` comes first.

    :raises CannotLook: somebody does not answer.
    """
    _become_privileged()
    driver = _driver(read_only)
    from nova.scheduler.client import report

    from nova_accel.virt import audit

    with audit.asking('Placement'):
        client = report.SchedulerReportClient()
    return attend(driver, client)


def _become_privileged() -> None:
    """See to it that serial numbers can be read which root alone may read.

    Without, cards that are known by them would seem to be lost.

    :raises CannotLook: they cannot be.
    """
    from nova import utils
    from oslo_privsep import priv_context

    from nova_accel.virt import privileged

    if os.geteuid() == 0:
        return
    # As nova-compute does.
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    try:
        privileged.config_spaces([])
    except Exception as error:
        raise exception.CannotLook(
            reason=f'the privileged helper of nova does not start '
            f'({error}); run this as root'
        ) from error


def attend(driver: ty.Any, client: ty.Any) -> Visit:
    """Look at the devices as a driver of ours does at its start.

    :param driver: has not been started.
    """
    import nova.conf
    from nova import context as nova_context

    from nova_accel.virt import audit
    from nova_accel.virt import tracker

    host = nova.conf.CONF.host
    context = nova_context.get_admin_context()
    with audit.asking('The hypervisor'):
        node = driver.accel_node()
    with audit.asking('nova-conductor'):
        held = tracker.held_on(context, host, node)
    driver.accel.start(node, driver.rules, held, driver.accel_elsewhere())
    with audit.asking('nova-conductor'):
        _recognise(driver.accel, context, host)
    return Visit(host, driver.accel, client, context)


def _recognise(accel: 'manager.Manager', context: ty.Any, host: str) -> None:
    """Learn which mediated devices of stock nova's making servers hold.

    Those that no record names yet are not ours before nova-compute says so.
    """
    from nova_accel.virt import takeover

    guests = {guest.server: guest.mdevs for guest in accel.guests()}
    found = takeover.Takeover(accel, None)
    # If they cannot be told apart, nova-compute does not start, and says why.
    with contextlib.suppress(exception.NotTakenOver):
        found.begin(
            context, host, lambda each: guests.get(each.uuid, frozenset())
        )
        for server in guests:
            accel.leave(found.pending(server))


def configure(files: collections.abc.Sequence[str]) -> None:
    """Become what nova-compute is on this host. Asks nobody anything.

    :param files: nova's configuration; none: where nova looks for it.
    :raises CannotLook: it will not do.
    :raises InvalidWhitelist: with every problem of every file.
    """
    # What libraries have to say about it is said better below.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        compute.prepare()
    except SystemExit as error:
        raise exception.CannotLook(reason=str(error.code)) from error
    import nova.conf
    from nova import config
    from oslo_config import cfg

    arguments = [f'--config-file={name}' for name in files]
    try:
        config.parse_args(
            ['nova-compute', *arguments], configure_db=False, prog=None
        )
    except cfg.Error as error:
        raise exception.CannotLook(reason=str(error)) from error
    conf = nova.conf.CONF
    if not conf.config_file:
        raise exception.CannotLook(
            reason='there is no nova.conf; name it with --nova-conf'
        )
    name = conf.compute_driver or ''
    if not name.startswith(PREFIX):
        raise exception.CannotLook(
            reason=f'compute_driver is {name!r} in '
            f'{", ".join(map(os.path.abspath, conf.config_file))}: this host '
            f'does not run a driver of nova_accel'
        )
    _check(conf)
    _talk_to_conductor()


def _check(conf: ty.Any) -> None:
    from nova.virt import node

    from nova_accel.conf import accel
    from nova_accel.conf import sources
    from nova_accel.virt import mixin  # noqa: F401  (registers [accel])

    # The driver would end the process over it, and nova would invent one.
    sources.load(accel.paths(conf))
    if node.read_local_node_uuid() is None:
        raise exception.CannotLook(
            reason=f'there is no compute_id in {conf.state_path}: '
            f'nova-compute has not run here yet'
        )


def _talk_to_conductor() -> None:
    # As nova-compute does.
    from nova.conductor import rpcapi
    import nova.db.main.api
    from nova.objects import base

    nova.db.main.api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()


def _driver(read_only: bool) -> ty.Any:
    import nova.conf

    name = nova.conf.CONF.compute_driver
    with contextlib.suppress(ImportError):
        import libvirt

        # It would print every error by itself, once more.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
    module = importlib.import_module('nova.virt.accel')
    cls = getattr(module, name.removeprefix(PREFIX), None)
    if cls is None:
        raise exception.CannotLook(reason=f'nova_accel has no driver {name!r}')
    return cls(None, read_only=read_only)
