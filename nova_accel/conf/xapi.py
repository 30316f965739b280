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
"""Options of the ``[accel_xapi]`` group."""

import socket

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'accel_xapi',
    title='Accelerators of XenServer and XCP-ng',
    help="""
How nova-compute reaches XAPI, where ``[DEFAULT] compute_driver`` is
``accel.XenAPIAccelDriver``. One nova-compute serves one host of a pool.
""",
)

OPTIONS = [
    cfg.StrOpt(
        'connection_url',
        help="""
URL of XAPI: ``https://`` and the address of any host of the pool.

The master is found from there, and followed when another host becomes it;
the other hosts are remembered. Without TLS (``http://``) the password
travels in the clear.
""",
    ),
    cfg.StrOpt(
        'connection_username',
        default='root',
        help="""
User that nova-compute logs in to XAPI as. It needs the role ``pool-admin``
or ``pool-operator``.
""",
    ),
    cfg.StrOpt(
        'connection_password',
        default='',
        secret=True,
        help="""
Password of ``connection_username``. It is never logged.
""",
    ),
    cfg.StrOpt(
        'ca_file',
        default='',
        help="""
File of certificates (PEM) by which the hosts of the pool are recognised.

Hosts make certificates of their own when they are installed: put those of
all hosts into one file. Empty: the certificates that the system trusts.
""",
    ),
    cfg.BoolOpt(
        'insecure',
        default=False,
        help="""
Accept any certificate. Whoever sits in between learns the password then.
""",
    ),
    cfg.StrOpt(
        'host',
        default=socket.gethostname(),
        sample_default='<current_hostname>',
        help="""
The host of the pool that this nova-compute serves: its uuid, its host name
or its name in XAPI.
""",
    ),
    cfg.FloatOpt(
        'request_timeout',
        default=60.0,
        min=0.1,
        help="""
Seconds that XAPI may take for one answer.
""",
    ),
    cfg.FloatOpt(
        'task_timeout',
        default=7200.0,
        min=1.0,
        help="""
Seconds that one task may take: the start of a server, the import of a disk.
""",
    ),
    cfg.FloatOpt(
        'failover_timeout',
        default=60.0,
        min=0.0,
        help="""
Seconds to look for the master of the pool when none answers, before a call
fails. While another host becomes the master, none does.
""",
    ),
    cfg.IntOpt(
        'sessions',
        default=8,
        min=1,
        max=128,
        help="""
How many calls may be made at the same time.
""",
    ),
    cfg.StrOpt(
        'sr',
        default='',
        help="""
Storage repository for the disks of servers: its uuid or its name. Empty: the
default one of the pool.

It must be plugged on this host. A name that several repositories bear is
taken for the one that is plugged here.
""",
    ),
    cfg.DictOpt(
        'network_map',
        default={},
        help="""
Networks of XAPI by networks of Neutron.

The key is a physical network of Neutron, or a physical network, a slash and a
segment (VLAN); the value is uuid or name of a network of XAPI. The longer key
goes first: ``physnet1/100:prod-100,physnet1:trunk``. XAPI does the VLAN.

A network of XAPI whose ``other_config`` has the key ``neutron_network`` with
the id of a Neutron network stands for that one, and needs no entry here.
""",
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options on a configuration."""
    conf.register_group(GROUP)
    conf.register_opts(OPTIONS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return all options, for oslo-config-generator."""
    return [(GROUP, list(OPTIONS))]
