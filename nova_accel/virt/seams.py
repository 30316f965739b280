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
"""What of nova we hold on to: methods that we override or call.

A release of nova that renamed one of them, or changed its parameters, would
go unnoticed until it hurts.
"""

import collections.abc
import inspect
import types
import typing as ty

from nova.compute import manager as compute_manager
from nova.compute import provider_tree
from nova.compute import resource_tracker
from nova.scheduler.client import report
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host

from nova_accel.virt import drivers
from nova_accel.virt import host
from nova_accel.virt import tracker

_OURS: tuple[tuple[type, type], ...] = (
    (drivers.LibvirtAccelDriver, libvirt_driver.LibvirtDriver),
    (tracker.AccelResourceTracker, resource_tracker.ResourceTracker),
    (host.AccelHost, libvirt_host.Host),
)

# Class of nova -> what we call of it -> with which leading parameters.
_CALLED: dict[type, dict[str, str]] = {
    compute_manager.ComputeManager: {
        '_reboot_instance': 'context instance block_device_info reboot_type',
    },
    libvirt_driver.LibvirtDriver: {
        '_get_all_assigned_mediated_devices': 'instance',
        '_get_vgpu_type_per_pgpu': 'device_address',
    },
    resource_tracker.ResourceTracker: {
        '_add_assigned_resources': 'resources',
        '_update_to_placement': 'context compute_node startup',
    },
    report.SchedulerReportClient: {
        'get_allocations_for_resource_provider': 'context rp_uuid',
        'get_allocs_for_consumer': 'context consumer',
        'get': 'url version global_request_id',
        'put': 'url data version global_request_id',
    },
    provider_tree.ProviderTree: {
        '_find_with_lock': 'name_or_uuid',
        'update_inventory': 'name_or_uuid inventory',
        'update_resources': 'name_or_uuid resources',
        'update_traits': 'name_or_uuid traits',
    },
    libvirt_host.Host: {'get_connection': '', '_wrap_libvirt_proxy': 'obj'},
}


def broken() -> list[str]:
    """Say what this nova lacks, or has in another shape."""
    return [*_overrides(_OURS), *_calls(_CALLED)]


def _overrides(
    pairs: collections.abc.Iterable[tuple[type, type]],
) -> collections.abc.Iterator[str]:
    for ours, novas in pairs:
        mixed = [one for one in ours.__mro__ if not issubclass(novas, one)]
        for one in mixed:
            others = {n for o in mixed if o is not one for n in vars(o)}
            for name, function in vars(one).items():
                if name in others and not hasattr(novas, name):
                    continue
                if _extends(function):
                    yield from _override(novas, name, function)


def _extends(function: object) -> bool:
    """Tell whether a method calls the one of the same name above it."""
    if not isinstance(function, types.FunctionType):
        return False
    names = function.__code__.co_names
    return 'super' in names and function.__name__ in names


def _override(
    novas: type, name: str, function: ty.Any
) -> collections.abc.Iterator[str]:
    if name == '__init__':
        return
    theirs = _parameters(novas, name)
    if theirs is None:
        yield f'{novas.__name__} has no {name}'
        return
    mine = inspect.signature(function).parameters.values()
    named = [p.name for p in mine if p.kind is p.POSITIONAL_OR_KEYWORD]
    takes_more = any(p.kind is p.VAR_POSITIONAL for p in mine)
    wanted = theirs[: len(named)] if takes_more else theirs
    if named != wanted:
        yield _other(novas, name, named, theirs)


def _calls(
    called: collections.abc.Mapping[type, collections.abc.Mapping[str, str]],
) -> collections.abc.Iterator[str]:
    for novas, methods in called.items():
        for name, words in methods.items():
            wanted = ['self', *words.split()]
            theirs = _parameters(novas, name)
            if theirs is None:
                yield f'{novas.__name__} has no {name}'
            elif theirs[: len(wanted)] != wanted:
                yield _other(novas, name, wanted, theirs)


def _parameters(owner: type, name: str) -> list[str] | None:
    function: ty.Any = getattr(owner, name, None)
    if function is None:
        return None
    return list(inspect.signature(inspect.unwrap(function)).parameters)


def _other(owner: type, name: str, wanted: list[str], found: list[str]) -> str:
    return (
        f'{owner.__name__}.{name} takes ({", ".join(found)}) instead of '
        f'({", ".join(wanted)})'
    )
