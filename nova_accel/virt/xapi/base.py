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
"""What every part of the driver goes by, made once."""

import contextlib
import typing as ty

import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.virt import driver

from nova_accel.backends import xapi
from nova_accel.conf import accel as accel_conf
from nova_accel.conf import xapi as xapi_conf
from nova_accel import exception
from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import devices
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import hostinfo
from nova_accel.virt.xapi import images
from nova_accel.virt.xapi import machines
from nova_accel.virt.xapi import moves
from nova_accel.virt.xapi import rescue
from nova_accel.virt.xapi import vifs
from nova_accel.virt.xapi import volumes

CONF = nova.conf.CONF

accel_conf.register_opts(CONF)
xapi_conf.register_opts(CONF)


def settings() -> xapi.Settings:
    """Return how to reach XAPI, from the configuration."""
    options = CONF.accel_xapi
    if not options.connection_url:
        raise exception.XapiUnavailable(
            reason='[accel_xapi]connection_url is not set'
        )
    return xapi.Settings(
        url=options.connection_url,
        username=options.connection_username,
        password=options.connection_password,
        ca_file=options.ca_file,
        insecure=options.insecure,
        timeout=options.request_timeout,
        task_timeout=options.task_timeout,
        patience=options.failover_timeout,
        sessions=options.sessions,
    )


class Base(driver.ComputeDriver):  # type: ignore[misc]
    """The tools of the driver, and what several of its parts do."""

    def __init__(self, virtapi: ty.Any, read_only: bool = False) -> None:
        super().__init__(virtapi)
        options = CONF.accel_xapi
        self._xapi = xapi.Session(settings())
        self._backend = xapi.XapiBackend(
            self._xapi, options.host, CONF.accel.resync_interval
        )
        self._machines = machines.Machines(self._xapi, self._backend)
        self._disks = disks.Disks(self._xapi, self._backend, options.sr)
        self._vifs = vifs.Vifs(self._xapi, options.network_map)
        self._volumes = volumes.Volumes(
            self._xapi, self._machines, self._disks
        )
        self._devices = devices.Devices(self._xapi, self._backend)
        self._builder = builder.Builder(
            self._machines,
            self._disks,
            self._vifs,
            self._volumes,
            self._devices,
        )
        self._moves = moves.Moves(self._xapi, self._backend, self._builder)
        self._rescue = rescue.Rescue(self._builder)
        self._info = hostinfo.HostInfo(self._xapi, self._backend, self._disks)
        self._node_uuid = ''

    def plans(self, instance: objects.Instance) -> devices.Plans:
        """Return what a server's claims are rendered to."""
        return ()

    def _load(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_meta: objects.ImageMeta,
        purpose: str,
        room: int,
    ) -> str:
        return images.load(
            context,
            self._xapi,
            self._disks,
            instance,
            image_meta,
            purpose,
            room,
        )

    @contextlib.contextmanager
    def _explained(
        self, kind: type[nova_exception.NovaException]
    ) -> ty.Iterator[None]:
        """Where this host has no room, raise an error of nova's that says so.

        ComputeResourcesUnavailable has nova try another host.
        """
        try:
            yield
        except exception.XapiNoRoom as error:
            reason = self._devices.explain(error)
        except exception.DeviceUnavailable as error:
            reason = str(error)
        else:
            return
        raise kind(reason=reason)

    def _start(
        self, instance: objects.Instance, machine: machines.Machine
    ) -> None:
        """Start a machine that is halted, with all that it holds."""
        with self._explained(nova_exception.InstancePowerOnFailure):
            wanted = self.plans(instance)
            self._devices.ensure(machine, instance.uuid, wanted)
            self._devices.check(machine.ref, instance.uuid, wanted)
            self._machines.start(machine.ref)
