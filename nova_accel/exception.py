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

import collections.abc
import dataclasses
import typing as ty


class AccelError(Exception):
    """Base of every error raised on purpose.

    :param kwargs: the fields named in ``msg_fmt``.
    """

    msg_fmt: ty.ClassVar[str] = 'An unexpected accelerator error occurred.'

    def __init__(self, **kwargs: object) -> None:
        self.kwargs = kwargs
        super().__init__(self.msg_fmt % kwargs)

    def format_message(self) -> str:
        """What nova writes into the fault of a server."""
        return str(self)


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


class DeviceRefused(DeviceUnavailable):
    """The backend cannot give a device; it knows no server."""

    msg_fmt = 'Device %(device)s cannot be used: %(reason)s'


class BackendUnavailable(AccelError):
    """The hypervisor does not answer."""

    msg_fmt = 'The hypervisor cannot be asked for its devices: %(reason)s'


class CannotLook(AccelError):
    """An audit of a host is not possible."""

    msg_fmt = 'cannot look: %(reason)s'


class WitnessUnavailable(CannotLook):
    """Somebody who has to be asked about a host does not answer."""

    msg_fmt = '%(witness)s cannot be asked: %(reason)s'


class InvalidNodeDevice(AccelError):
    msg_fmt = 'The description of node device %(device)s is wrong: %(reason)s'


class NotEnoughUnits(AccelError):
    """A claim cannot be met by what this node has free."""

    msg_fmt = (
        'Provider %(provider)s cannot give %(amount)d of %(resource_class)s: '
        '%(reason)s'
    )


class NotMigratable(AccelError):
    """A device that a server holds keeps it from being live-migrated."""

    msg_fmt = (
        'Device %(device)s of server %(server)s cannot be live-migrated: '
        '%(reason)s'
    )


class NoCounterpart(AccelError):
    """What a server holds and what it would get do not match."""

    msg_fmt = 'Server %(server)s cannot be live-migrated: %(reason)s'


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file, and what to do about it.

    :ivar line: counts from 1; None when it concerns the file as a whole.
    :ivar key: dotted path of the key, ``devices.t4.match.vendor_id``; ''
        when it concerns no key.
    """

    file: str
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f'{self.file}:{self.line}'
        return ': '.join(part for part in (place, self.key, self.text) if part)


class InvalidWhitelist(AccelError):
    """The whitelist cannot be used; every problem of every file is listed.

    :ivar problems: all of them, also those the message leaves out.
    """

    msg_fmt = '%(report)s'
    _SHOWN: ty.ClassVar[int] = 50

    def __init__(self, problems: collections.abc.Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[: self._SHOWN]]
        if len(self.problems) > self._SHOWN:
            lines.append(f'... and {len(self.problems) - self._SHOWN} more')
        super().__init__(report='\n'.join(lines))


class NotOffered(AccelError):
    """A device that the whitelist names cannot be offered."""

    msg_fmt = '%(reason)s'


class InvalidRequest(AccelError):
    """A flavor's extra spec asks for something that cannot be read."""

    msg_fmt = '%(key)s=%(value)s: %(reason)s'


class ModelRefused(AccelError):
    """A flavor cannot give the vGPU model that an image requires.

    Users read these in a server's fault, which is cut at 255 characters.
    """


class ImageNeedsVGPU(ModelRefused):
    msg_fmt = (
        'image %(image)s requires %(trait)s, but flavor %(flavor)s asks for '
        'no vGPU: use a flavor with resources:VGPU=1 or the class of that '
        'model'
    )


class ImageNeedsOtherModel(ModelRefused):
    msg_fmt = (
        'image %(image)s requires %(trait)s, but flavor %(flavor)s asks for '
        '%(resource_class)s, which is another model'
    )


class ImageModelInGroup(ModelRefused):
    msg_fmt = (
        'set trait%(suffix)s:%(trait)s=required on flavor %(flavor)s: image '
        '%(image)s requires it, and without that Placement looks for it '
        'outside of the group'
    )


class NotTakenOver(AccelError):
    """Servers run on devices of stock nova that the whitelist cannot take."""

    msg_fmt = (
        'Servers of this host have devices from options of nova that the '
        'whitelist cannot take over; nothing was changed: %(reasons)s'
    )


class ClaimedTwice(AccelError):
    """Our whitelist and an option of nova's both claim a device."""

    msg_fmt = (
        'Device %(device)s (%(label)s) is claimed twice: by rule %(rules)s '
        'and by %(option)s; take it out of one of them'
    )


class Refusal(AccelError):
    """A user's request to attach or detach something is not met.

    Users read these: they say what to do, and name no host.
    """


class InvalidInput(Refusal):
    msg_fmt = '%(where)s: %(reason)s'


class NotAllowed(Refusal):
    msg_fmt = (
        'Policy does not allow %(action)s with this token; use one of a '
        'project in which you have the role that the rule asks for'
    )


class ServerNotFound(Refusal):
    """It does not exist, or not for the one who asks: both read alike."""

    msg_fmt = (
        'Server %(server)s could not be found; give the uuid of a server of '
        'your project'
    )


class AttachmentNotFound(Refusal):
    msg_fmt = (
        'Server %(server)s has no accelerator %(id)s; list them to see '
        'their ids'
    )


class ServerLocked(Refusal):
    msg_fmt = 'Server %(server)s is locked; unlock it first'


class ServerState(Refusal):
    """A server is in no state in which this can be done."""

    msg_fmt = 'Server %(server)s is %(state)s; %(advice)s'


class HostUnavailable(Refusal):
    msg_fmt = (
        'The compute service of server %(server)s is down; try again once '
        'an administrator has brought it back'
    )


class AttachNotPermitted(Refusal):
    """The flavor says nothing about a resource class."""

    msg_fmt = (
        'Flavor %(flavor)s of server %(server)s does not permit to attach '
        '%(resource_class)s; resize to a flavor with the extra spec '
        'accel_hotplug:max_%(resource_class)s'
    )


class AttachLimitReached(Refusal):
    msg_fmt = (
        'Flavor %(flavor)s of server %(server)s permits to attach '
        '%(limit)d of %(resource_class)s; %(attached)d are attached and '
        '%(amount)d were asked for: detach some first, or resize'
    )


class OverLimit(Refusal):
    """A unified limit of the project is reached."""

    msg_fmt = (
        'A limit of project %(project)s is reached: %(reason)s; detach or '
        'delete something first, or ask for a higher limit'
    )


class HostCannotAttach(Refusal):
    """No provider of the server's host has CUSTOM_ACCEL_HOTPLUG."""

    msg_fmt = (
        'The host of server %(server)s cannot attach %(resource_class)s to '
        'a server that exists (no trait CUSTOM_ACCEL_HOTPLUG there); use a '
        'flavor that asks for it, or let an administrator move the server'
    )


class NoFreeUnits(Refusal):
    msg_fmt = (
        'The host of server %(server)s has no %(amount)d of '
        '%(resource_class)s free on one device; try again later, ask for '
        'less, or let an administrator move the server'
    )


class AttachmentConflict(Refusal):
    """The id of a request stands for something else already."""

    msg_fmt = (
        'Accelerator %(id)s of server %(server)s is %(amount)d of '
        '%(resource_class)s, which is not what this request says; choose '
        'another id'
    )


class AttachmentState(Refusal):
    """An attachment is in no state in which this can be done."""

    msg_fmt = (
        'Accelerator %(id)s of server %(server)s is %(state)s; %(advice)s'
    )


class NotDetachable(Refusal):
    msg_fmt = (
        'Accelerator %(id)s of server %(server)s came with its flavor; '
        'resize the server to be rid of it'
    )


class ServiceSilent(Refusal):
    """Somebody who has to be asked did not answer, or not in time."""

    msg_fmt = (
        '%(service)s did not answer; send the same request with the same id '
        'again: what was done by then is not done twice'
    )
