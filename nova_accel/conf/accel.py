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
"""Options of the ``[accel]`` group."""

from oslo_config import cfg

from nova_accel.conf import api
from nova_accel.conf import sources
from nova_accel.conf import xapi

GROUP = cfg.OptGroup(
    'accel',
    title='Accelerators',
    help="""
The accelerators of this host: vGPUs, whole PCI devices and virtual functions
that nova_accel reports to Placement and attaches to servers.

They are read by nova-compute, where ``[DEFAULT] compute_driver`` is one of the
``accel.*`` drivers, and by ``nova-accel``. What the host offers is not said
here but in the YAML file that ``config`` names.
""",
)

OPTIONS = [
    cfg.StrOpt(
        'config',
        default='/etc/nova/accel.yaml',
        help="""
YAML file that says which devices this host offers.

A device that no rule of the file matches is not offered. If the option is
left alone and the file does not exist, nothing is offered, unless
``config_dir`` holds files. If you set the option, the file must exist.

An error in the file stops the start of nova-compute; check it before with
``nova-accel check``. One file can serve many hosts: a rule that matches
nothing on a host does no harm there.

Related options:

* ``[accel] config_dir``: more such files.
""",
    ),
    cfg.StrOpt(
        'config_dir',
        default='/etc/nova/accel.d',
        help="""
Directory of further YAML files.

Every file whose name ends in ``.yaml`` and does not start with a dot is read
in addition to ``config``, in the order of the names; others are ignored. All
rules together form the whitelist; two rules of one name are an error. If the
option is left alone, the directory need not exist. If you set it, it must.
Set it to an empty value to read ``config`` only.

Related options:

* ``[accel] config``: the main file.
""",
    ),
    cfg.IntOpt(
        'resync_interval',
        default=600,
        min=0,
        help="""
Seconds between two complete readings of the host's devices.

Between them nova-compute relies on the events of the hypervisor to notice a
device that comes, goes or changes, which costs next to nothing. The complete
reading is the safety net for an event that got lost; it takes some calls for
each device. It runs as part of the periodic ``update_available_resource``, so
a value below ``[DEFAULT] update_resources_interval`` means every time.

Raise it on hosts with very many devices; lower it if devices changed without
nova-compute noticing. 0 reads everything every time.
""",
    ),
    cfg.IntOpt(
        'health_interval',
        default=60,
        min=1,
        help="""
Seconds between two looks at the health of the devices whose rule says
``health:``.

A look reads some files of sysfs for each such device and asks the hypervisor
nothing. It runs as part of the periodic ``update_available_resource``, so a
value below ``[DEFAULT] update_resources_interval`` means every time; when the
hardware has changed it runs at once.
""",
    ),
    cfg.StrOpt(
        'command_user',
        default='',
        help="""
User as whom the commands of ``clean:`` and ``prepare:`` are run.

Left empty, it is the user that nova-compute runs as, and ``nobody`` where
that is root. Only a nova-compute that is root can become another user. Never
root: give the user the rights that the commands need, and no others.
""",
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options on a configuration."""
    conf.register_group(GROUP)
    conf.register_opts(OPTIONS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return all options, for oslo-config-generator."""
    return [(GROUP, list(OPTIONS)), *api.list_opts(), *xapi.list_opts()]


def paths(conf: cfg.ConfigOpts) -> sources.Paths:
    """Return where the configuration says the whitelist is.

    Only what the operator named must exist.
    """
    names = ('config', 'config_dir')
    return sources.Paths(
        config=conf.accel.config,
        config_dir=conf.accel.config_dir,
        optional=frozenset(
            conf.accel[name] for name in names if not _is_set(conf, name)
        ),
    )


def _is_set(conf: cfg.ConfigOpts, name: str) -> bool:
    # By a file, the command line or the environment: oslo.config goes on to
    # report an override, which only programs make, after it was cleared.
    found = conf.get_location(name, 'accel')
    return found is not None and bool(found.location.is_user_controlled)
