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
"""Every error this project raises, in one place.

Each class carries a ``msg_fmt`` with named fields, so that the text an
operator reads is written once and tests can match on the class.
"""

import typing as ty


class AccelError(Exception):
    """Base of every error raised on purpose.

    :param kwargs: the fields named in ``msg_fmt``.
    """

    msg_fmt: ty.ClassVar[str] = 'An unexpected accelerator error occurred.'

    def __init__(self, **kwargs: object) -> None:
        self.kwargs = kwargs
        super().__init__(self.msg_fmt % kwargs)


class InvalidAddress(AccelError):
    msg_fmt = (
        '%(value)r is not a PCI address; write domain:bus:slot.function '
        'in hexadecimal, like 0000:3b:00.0'
    )


class DeviceUnavailable(AccelError):
    """A device that a server holds cannot be used right now."""

    msg_fmt = (
        'Device %(device)s of server %(server)s cannot be used: %(reason)s'
    )


class NotEnoughUnits(AccelError):
    """A claim cannot be met by what this node has free."""

    msg_fmt = (
        'Provider %(provider)s cannot give %(amount)d of %(resource_class)s: '
        '%(reason)s'
    )
