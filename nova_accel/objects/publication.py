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
"""From the node to the scheduler, in the ``stats`` of the compute node record.

The JSON of the object's primitive stands there under
``accel_vgpu_capabilities``. It is a hint, as nova rewrites what the driver
says in its periodic update only; what decides is the claim on the node.
"""

import collections
import collections.abc
import functools
import typing as ty

from oslo_log import log as logging
from oslo_serialization import jsonutils
from oslo_utils import versionutils
from oslo_versionedobjects import base as ovo_base

from nova_accel.objects import base
from nova_accel.objects import vgpu_capabilities

LOG = logging.getLogger(__name__)

KEY = 'accel_vgpu_capabilities'
ALL_CLASSES = '*'
"""Stands for the resource class where there is room for one total only."""

# compute_nodes.stats is TEXT, 65,535 bytes on MySQL and MariaDB, and a value
# that does not fit fails every claim of the host. Half of it is plenty.
LIMIT = 32 * 1024
# Nova's own counters, one for each project and each state among them: what
# is kept free for them at least, and how much they may grow until we are
# asked again.
_RESERVE = 8 * 1024
_GROWTH = 1024

_NAME = base.AccelObject._obj_primitive_key('name')
_VERSION = base.AccelObject._obj_primitive_key('version')

_Form = collections.abc.Callable[
    [vgpu_capabilities.VGPUCapabilities], dict[str, ty.Any]
]


def budget(others: collections.abc.Mapping[str, object]) -> int:
    """Return how many bytes of the stats column are ours.

    :param others: what else stands there now.
    """
    return LIMIT - max(_RESERVE, len(jsonutils.dumps(others)) + _GROWTH) - 1


@functools.lru_cache(maxsize=4)
def weight(text: str) -> int:
    """Return how many bytes a value takes up once nova has escaped it."""
    # Not ASCII is escaped too, so that characters are bytes.
    return len(jsonutils.dumps({KEY: text}))


def publish(
    capabilities: vgpu_capabilities.VGPUCapabilities, room: int
) -> str:
    """Return the value for the node's stats.

    As much as fits: everything; version 1.0, which has no cards; one total
    for each resource class, the models left out; one total of all; nothing.

    :param room: bytes that it may take up in the column, from ``budget()``.
    """
    return _fit(capabilities, room)[1]


def _fit(
    capabilities: vgpu_capabilities.VGPUCapabilities, room: int
) -> tuple[str, str]:
    for left_out, form in _FORMS.items():
        text = _text(form, capabilities)
        if weight(text) <= room:
            return left_out, text
    return 'everything', ''


# A node whose claims did not change publishes the same object again.
@functools.lru_cache(maxsize=4)
def _text(
    form: _Form, capabilities: vgpu_capabilities.VGPUCapabilities
) -> str:
    return jsonutils.dumps(form(capabilities), separators=(',', ':'))


def _whole(
    capabilities: vgpu_capabilities.VGPUCapabilities,
) -> dict[str, ty.Any]:
    return capabilities.obj_to_primitive()


def _without_cards(
    capabilities: vgpu_capabilities.VGPUCapabilities,
) -> dict[str, ty.Any]:
    return capabilities.obj_to_primitive(target_version='1.0')


def _without_models(
    capabilities: vgpu_capabilities.VGPUCapabilities,
) -> dict[str, ty.Any]:
    return _sums((m.resource_class, m) for m in capabilities.models)


def _without_classes(
    capabilities: vgpu_capabilities.VGPUCapabilities,
) -> dict[str, ty.Any]:
    return _sums((ALL_CLASSES, m) for m in capabilities.models)


def _sums(
    models: collections.abc.Iterable[
        tuple[str, vgpu_capabilities.VGPUModelCapability]
    ],
) -> dict[str, ty.Any]:
    total: collections.Counter[str] = collections.Counter()
    free: collections.Counter[str] = collections.Counter()
    for rc, model in models:
        total[rc] += model.total
        free[rc] += model.free
    sums = vgpu_capabilities.VGPUCapabilities(
        models=[
            vgpu_capabilities.VGPUModelCapability(
                resource_class=rc, total=total[rc], free=free[rc]
            )
            for rc in total
        ]
    )
    sums.obj_reset_changes(recursive=True)
    return sums.obj_to_primitive(target_version='1.0')


# What is left out -> how. The first that fits is published.
_FORMS = {
    '': _whole,
    'cards': _without_cards,
    'cards and models': _without_models,
    'cards, models and resource classes': _without_classes,
}


def into(
    stats: collections.abc.Mapping[str, ty.Any],
    capabilities: vgpu_capabilities.VGPUCapabilities,
    others: collections.abc.Mapping[str, object] | None = None,
) -> dict[str, ty.Any]:
    """Return a driver's stats with the capabilities added, cut to fit.

    :param others: the node's stats as the ResourceTracker has them now.
    """
    rest = {k: v for k, v in {**(others or {}), **stats}.items() if k != KEY}
    left_out, text = _fit(capabilities, budget(rest))
    if left_out:
        _warn(left_out)
    return {**stats, KEY: text}


# Once for each kind and life of the process.
@functools.cache
def _warn(left_out: str) -> None:
    LOG.warning(
        'The vGPU capabilities of this host are too long for the stats of '
        'its compute node record and go without %s: the scheduler cannot '
        'tell beforehand which models a card is able to serve, and finds '
        'out by trying. Whitelist fewer models per card to avoid it.',
        left_out,
    )


def load(
    stats: collections.abc.Mapping[str, ty.Any] | None,
) -> vgpu_capabilities.VGPUCapabilities | None:
    """Read a host's capabilities, written by whatever version of ours.

    Never raises. The result is shared, do not change it.

    :returns: None if there are none, or none that we understand.
    """
    text = (
        stats.get(KEY) if isinstance(stats, collections.abc.Mapping) else None
    )
    if not isinstance(text, str) or not 0 < len(text) <= 2 * LIMIT:
        return None
    return _load(text)


def version(text: str) -> str:
    """Return the version of what a host publishes, '' if it is none."""
    try:
        return str(jsonutils.loads(text)[_VERSION])
    except (KeyError, TypeError, ValueError):
        return ''


# The scheduler sees the same text again until something is claimed there.
@functools.lru_cache(maxsize=1024)
def _load(text: str) -> vgpu_capabilities.VGPUCapabilities | None:
    try:
        found = vgpu_capabilities.VGPUCapabilities.obj_from_primitive(
            _understood(jsonutils.loads(text))
        )
        _complete(found)
        for part in (*found.models, *found.cards):
            _complete(part)
    except Exception as error:
        # Whatever stands there, it must not stop scheduling.
        LOG.debug('Ignoring the vGPU capabilities %.200s: %s', text, error)
        return None
    return found


def _understood(node: ty.Any) -> ty.Any:
    """Relabel objects of any minor version as the newest we know.

    A minor version only adds fields: those that we do not know are skipped,
    those that an older one lacks get their defaults.
    """
    if isinstance(node, list):
        return [_understood(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _understood(value) for key, value in node.items()}
    if _NAME not in node:
        return node
    classes = base.AccelObjectRegistry.obj_classes().get(node[_NAME])
    if classes is None:
        return None
    newest = classes[0].VERSION
    if _major(node[_VERSION]) == _major(newest):
        node[_VERSION] = newest
    return node


def _major(version: str) -> int:
    return versionutils.convert_version_to_tuple(version)[0]


def _complete(found: ovo_base.VersionedObject) -> None:
    """Give what is not there its default, or None.

    :raises ValueError: it has no default and cannot be None.
    """
    for name in found.fields:
        if not found.obj_attr_is_set(name):
            setattr(found, name, None)
