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
"""The few things that the scheduler asks Placement besides candidates."""

import collections.abc
import typing as ty

from keystoneauth1 import exceptions as ks_exc
from nova.scheduler.client import report
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def usages(provider: str) -> dict[str, int]:
    """Return class -> amount in use; empty if Placement does not say."""
    found = _get(f'/resource_providers/{provider}/usages')
    return ty.cast(dict[str, int], found.get('usages', {}))


def has_room(
    provider: str, amounts: collections.abc.Mapping[str, int]
) -> bool:
    """Tell whether amounts fit now; True if Placement does not say."""
    path = f'/resource_providers/{provider}/inventories'
    inventories = _get(path).get('inventories', {})
    used = usages(provider)
    return all(
        amount <= _capacity(inventories[rc]) - used.get(rc, 0)
        for rc, amount in amounts.items()
        if rc in inventories
    )


def _capacity(record: collections.abc.Mapping[str, ty.Any]) -> int:
    return int(
        (record['total'] - record['reserved']) * record['allocation_ratio']
    )


def is_trait(name: str) -> bool:
    """Tell whether a trait exists; False if Placement does not say."""
    return name in _get(f'/traits?name=in:{name}').get('traits', ())


def _get(url: str) -> dict[str, ty.Any]:
    try:
        # Traits came with 1.6.
        response = report.report_client_singleton().get(url, version='1.6')
    except ks_exc.ClientException as error:
        LOG.debug('Placement does not answer GET %s: %s', url, error)
        return {}
    if response.status_code != 200:
        LOG.debug('Placement refuses GET %s: %s', url, response.text)
        return {}
    return ty.cast(dict[str, ty.Any], response.json())
