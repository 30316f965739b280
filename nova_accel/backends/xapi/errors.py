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
"""Which error each failure of XAPI is. A table, and what is not in it."""

import collections.abc

from nova_accel import exception

HOST_IS_SLAVE = 'HOST_IS_SLAVE'
HOST_STILL_BOOTING = 'HOST_STILL_BOOTING'
SESSION_INVALID = 'SESSION_INVALID'
TOKEN = 'EVENT_FROM_TOKEN_PARSE_FAILURE'

_KINDS: dict[type[exception.XapiFailure], tuple[str, ...]] = {
    exception.XapiNoRoom: (
        'HOST_CANNOT_ATTACH_NETWORK',
        'HOST_DISABLED',
        'HOST_NOT_ENOUGH_FREE_MEMORY',
        'HOST_NOT_ENOUGH_PCPUS',
        'HOST_NOT_LIVE',
        'NETWORK_SRIOV_INSUFFICIENT_CAPACITY',
        'NO_HOSTS_AVAILABLE',
        'SR_FULL',
        'TOO_MANY_VUSBS',
        'USB_ALREADY_ATTACHED',
        'USB_GROUP_CONFLICT',
        'USB_GROUP_CONTAINS_NO_PUSBS',
        'VGPU_TYPE_NOT_COMPATIBLE',
        'VGPU_TYPE_NOT_COMPATIBLE_WITH_RUNNING_TYPE',
        'VGPU_TYPE_NOT_ENABLED',
        'VGPU_TYPE_NOT_SUPPORTED',
        'VM_PCI_BUS_FULL',
        'VM_REQUIRES_GPU',
        'VM_REQUIRES_IOMMU',
        'VM_REQUIRES_NETWORK',
        'VM_REQUIRES_SR',
        'VM_REQUIRES_VGPU',
        'VM_REQUIRES_VUSB',
    ),
    exception.XapiGone: ('HANDLE_INVALID', 'UUID_INVALID'),
    exception.XapiRefused: (
        'DEVICE_DETACH_REJECTED',
        'OPERATION_NOT_ALLOWED',
        'OTHER_OPERATION_IN_PROGRESS',
        'VGPU_SUSPENSION_NOT_SUPPORTED',
        'VM_BAD_POWER_STATE',
        'VM_HAS_PCI_ATTACHED',
        'VM_HAS_SRIOV_VIF',
        'VM_HAS_VGPU',
        'VM_HAS_VUSBS',
        'VM_LACKS_FEATURE',
        'VM_MISSING_PV_DRIVERS',
    ),
    exception.XapiDenied: (
        'RBAC_PERMISSION_DENIED',
        'SESSION_AUTHENTICATION_FAILED',
        'SESSION_AUTHORIZATION_FAILED',
    ),
}
_BY_CODE = {code: kind for kind, codes in _KINDS.items() for code in codes}

# Every code that the driver goes by somewhere.
CODES = frozenset(_BY_CODE) | {
    HOST_IS_SLAVE,
    HOST_STILL_BOOTING,
    SESSION_INVALID,
    TOKEN,
}


def typed(
    message: str, details: collections.abc.Sequence[object]
) -> exception.XapiFailure:
    """Return the error that a failure is.

    :param message: what was called.
    :param details: the code, then its parameters.
    """
    code, *params = [str(each) for each in details] or ['INTERNAL_ERROR']
    kind = _BY_CODE.get(code, exception.XapiFailure)
    return kind(message, code, tuple(params))
