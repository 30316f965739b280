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
"""Options of the ``[accel_api]`` group."""

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'accel_api',
    title='API of hot attach and detach',
    help="""
The service that attaches accelerators to servers that exist, and detaches
them. Read where it runs: by ``nova_accel.api.wsgi``, or by nova-api if the
service is mounted there.
""",
)

OPTIONS = [
    cfg.IntOpt(
        'workers',
        default=16,
        min=1,
        help="""
Threads of one API process that wait for nova-compute to attach devices.

A request is answered before that. More requests than threads are worked on
one after the other; their accelerators are ``attaching`` meanwhile.
""",
    ),
    cfg.IntOpt(
        'resume_after',
        default=300,
        min=1,
        help="""
Seconds after which an accelerator that is still ``attaching`` is taken for
forgotten by an API process that died, and asked for again.

It happens with the next request on that server. It does no harm if the
process is alive: nova-compute does nothing twice.
""",
    ),
    cfg.IntOpt(
        'watch_detach',
        default=3600,
        min=0,
        help="""
Seconds for which an API process looks whether a detach is over, so as to
take its request out of what the scheduler goes by.

A guest may answer later than that, or never. Then the next request on that
server does it, or ``nova-accel doctor --fix``.
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
