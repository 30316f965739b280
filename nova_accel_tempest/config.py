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
"""What a deployer tells these tests of a cloud."""

from oslo_config import cfg
from oslo_config import types

service_available: list[cfg.Opt] = [
    cfg.BoolOpt(
        'accel',
        default=True,
        help='Whether hosts of this cloud run a driver of nova_accel. Then '
        'its tests run, and fail where nothing is offered.',
    ),
]

group = cfg.OptGroup('accel', title='Accelerators by nova_accel')

options: list[cfg.Opt] = [
    cfg.ListOpt(
        'resource_classes',
        default=[],
        help='Resource classes that must be on offer. A class in this list '
        'that no host offers is a failure. Empty: whatever is found.',
    ),
    cfg.Opt(
        'flavor_extra_specs',
        type=types.Dict(key_value_separator='='),
        default={},
        help='Extra specs that every flavor of these tests needs here, for '
        'instance the trait that lets servers into an isolated aggregate: '
        'trait:CUSTOM_X=required. Several are separated by commas.',
    ),
    cfg.BoolOpt(
        'guest_reports',
        default=False,
        help='Whether the guest of [compute]image_ref writes its host '
        'devices to the console, as lines of "ACCEL-GUEST DEV '
        '<vendor>:<product> serial=<serial> mdev=<uuid>" between '
        '"ACCEL-GUEST BEGIN" and "ACCEL-GUEST END". Without it the tests '
        'believe what APIs say.',
    ),
    cfg.ListOpt(
        'silent_guests',
        default=[],
        help='Resource classes whose guests report nothing all the same: '
        'their hosts have no console log.',
    ),
    cfg.Opt(
        'images',
        type=types.Dict(key_value_separator='='),
        default={},
        help='Resource class -> the image for servers that have it, where '
        'its hosts cannot boot [compute]image_ref, separated by commas: '
        'CUSTOM_X=<uuid>,CUSTOM_Y=<uuid>.',
    ),
    cfg.IntOpt(
        'guest_timeout',
        default=300,
        min=1,
        help='Seconds that a guest may take until it has reported.',
    ),
    cfg.BoolOpt(
        'two_hosts',
        default=True,
        help='Whether there are two hosts that offer different classes, and '
        'one class that both offer. Tests of moves need it.',
    ),
    cfg.BoolOpt(
        'drain',
        default=False,
        help='Whether CUSTOM_ACCEL_DRAINING on a provider takes it out of '
        'service.',
    ),
    cfg.IntOpt(
        'drain_timeout',
        default=360,
        min=1,
        help='Seconds until a host has noticed a trait that an operator has '
        'set: [compute]resource_provider_association_refresh of nova and one '
        'more period of its update.',
    ),
    cfg.BoolOpt(
        'hot_attach',
        default=False,
        help='Whether the API of hot attach is there and hosts offer it.',
    ),
    cfg.StrOpt(
        'catalog_type',
        default='accelerator-hotplug',
        help='Type of the service of hot attach in the catalog.',
    ),
    cfg.StrOpt(
        'endpoint_type',
        default='publicURL',
        choices=[
            'public',
            'admin',
            'internal',
            'publicURL',
            'adminURL',
            'internalURL',
        ],
        help='Kind of the endpoint to use.',
    ),
    cfg.StrOpt(
        'region',
        default='',
        help='Region of the endpoint; empty: that of [identity].',
    ),
    cfg.IntOpt(
        'build_timeout',
        default=300,
        min=1,
        help='Seconds that an attachment may take.',
    ),
    cfg.IntOpt(
        'build_interval',
        default=1,
        min=1,
        help='Seconds between two looks at an attachment.',
    ),
]
