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


class XapiUnavailable(BackendUnavailable):
    """No member of the XAPI pool answers."""

    msg_fmt = 'XAPI cannot be reached: %(reason)s'


class XapiUnsure(BackendUnavailable):
    """The answer to a call of XAPI got lost."""

    msg_fmt = 'Nobody knows whether XAPI carried %(call)s out: %(reason)s'


class XapiFailure(AccelError):
    """XAPI refuses a call.

    :ivar code: XAPI's, ``VM_REQUIRES_VGPU``.
    :ivar params: what the code is about, as XAPI gives them.
    """

    msg_fmt = 'XAPI refuses %(call)s: %(code)s(%(params)s)'

    def __init__(
        self, call: str, code: str, params: tuple[str, ...] = ()
    ) -> None:
        self.code = code
        self.params = params
        super().__init__(call=call, code=code, params=', '.join(params))


class XapiNoRoom(XapiFailure):
    """This host cannot take it, another one may."""


class XapiGone(XapiFailure):
    """The object is not there any more."""


class XapiRefused(XapiFailure):
    """Not in the state that the object is in."""


class XapiDenied(XapiFailure):
    """The user may not, or is not known."""


class ImageWrong(AccelError):
    """An image is not what its record says, or cannot be used here."""

    msg_fmt = 'The image cannot be used: %(reason)s'


class CannotLook(AccelError):
    """An audit of a host is not possible."""

    msg_fmt = 'cannot look: %(reason)s'


class WitnessUnavailable(CannotLook):
    """Somebody who has to be asked about a host does not answer."""

    msg_fmt = '%(witness)s cannot be asked: %(reason)s'


class BrokenOnPurpose(AccelError):
    """What a driver of ``nova_accel.testing.broken`` answers."""

    msg_fmt = (
        'This host runs a driver that is broken on purpose, to try tests: '
        '%(operation)s does not work'
    )


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


class InvalidFile(AccelError):
    """A file cannot be used; every problem of every file is listed.

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


class InvalidWhitelist(InvalidFile):
    """The whitelist cannot be used."""


class InvalidTopology(InvalidFile):
    """The XAPI simulator cannot make what a file describes."""


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


class HotplugError(AccelError):
    """What keeps an accelerator from being attached or detached.

    They travel from nova-compute to the API, hence the text as an argument
    of its own.

    :cvar code: the HTTP status that a user gets.
    """

    code: ty.ClassVar[int] = 409

    def __init__(self, message: str | None = None, **kwargs: object) -> None:
        if message is None:
            super().__init__(**kwargs)
            return
        self.kwargs = kwargs
        Exception.__init__(self, message)


class HotplugNotAllowed(HotplugError):
    code = 403
    msg_fmt = (
        'The flavor of server %(server)s allows %(limit)d of '
        '%(resource_class)s to be attached, and it has %(used)d: detach one, '
        'or resize the server to a flavor with a larger '
        'accel_hotplug:max_%(resource_class)s'
    )


class HotplugUnsupported(HotplugError):
    msg_fmt = (
        'The host of server %(server)s cannot attach %(resource_class)s to a '
        'server that exists: %(reason)s'
    )


class GroupsMixed(HotplugError):
    """Placement would allocate too much when the server moves."""

    msg_fmt = (
        'The flavor of server %(server)s asks for %(resource_class)s without '
        'a group, under group_policy=isolate; beside that Placement cannot '
        'count one that is attached: resize the server to a flavor that asks '
        'for it in a group (resources1:%(resource_class)s), or has '
        'group_policy=none'
    )


class HotplugWrongState(HotplugError):
    msg_fmt = (
        'Server %(server)s is %(state)s; an accelerator can be attached or '
        'detached while it is active, paused or stopped and nothing else is '
        'done to it'
    )


class NoFreeSlot(HotplugError):
    msg_fmt = (
        'The host of server %(server)s has no %(amount)d of '
        '%(resource_class)s free: %(reason)s; try again later, or migrate '
        'the server to another host first'
    )


class AttachmentConflict(HotplugError):
    msg_fmt = (
        'Attachment %(attachment)s exists and is about %(amount)d of '
        '%(resource_class)s; use another id'
    )


class AttachmentBusy(HotplugError):
    msg_fmt = (
        'Attachment %(attachment)s is %(state)s, which does not allow this now'
    )


class AttachmentNotFound(HotplugError):
    code = 404
    msg_fmt = 'Server %(server)s has no attachment %(attachment)s'


class HotplugFailed(HotplugError):
    """It was tried and did not work; what was done has been undone."""

    code = 500
    msg_fmt = (
        'Attachment %(attachment)s of server %(server)s failed: %(reason)s'
    )


class InvalidInput(HotplugError):
    code = 400
    msg_fmt = '%(where)s: %(reason)s'


class PolicyRefusal(HotplugError):
    code = 403
    msg_fmt = (
        'Policy does not allow %(rule)s with this token; use one for a '
        'project in which you have the role that the rule asks for'
    )


class ServerNotFound(HotplugError):
    """It does not exist, or not for the one who asks: both read alike."""

    code = 404
    msg_fmt = (
        'Server %(server)s could not be found; give the uuid of a server of '
        'your project'
    )


class ServerLocked(HotplugError):
    msg_fmt = (
        'Server %(server)s is locked; unlock it first, or ask who locked it'
    )


class ServerNotPlaced(HotplugError):
    msg_fmt = (
        'Server %(server)s is on no host (it is %(state)s); try again when '
        'it is active or stopped'
    )


class HostUnavailable(HotplugError):
    msg_fmt = (
        'The compute service of server %(server)s is down; try again when '
        'an administrator has brought it back'
    )


class HotplugNotPermitted(HotplugNotAllowed):
    """The flavor says nothing about a resource class."""

    msg_fmt = (
        'Flavor %(flavor)s of server %(server)s does not permit to attach '
        '%(resource_class)s; resize the server to a flavor with the extra '
        'spec accel_hotplug:max_%(resource_class)s'
    )


class OverLimit(HotplugError):
    """A unified limit of the project is reached."""

    code = 403
    msg_fmt = (
        'A limit of the project of server %(server)s is reached (%(reason)s)'
        '; detach or delete something first, or ask for a higher limit'
    )


class NotDetachable(HotplugError):
    msg_fmt = (
        'Accelerator %(attachment)s of server %(server)s came with its '
        'flavor; resize the server to be rid of it'
    )


class NotDetaching(HotplugError):
    msg_fmt = (
        'Accelerator %(attachment)s of server %(server)s is %(state)s, so '
        'there is no detach to be cancelled'
    )


class ServiceSilent(HotplugError):
    """Somebody who has to be asked did not answer, or not in time."""

    code = 503
    msg_fmt = (
        '%(service)s did not answer; send the same request with the same id '
        'again, what was done by then is not done twice'
    )


class DetachFirst(HotplugError):
    """Something is attached that keeps nova from what is asked of it."""

    msg_fmt = (
        'Server %(server)s cannot %(action)s: %(reason)s; detach first: '
        '%(attachments)s'
    )


class PlacementFailed(AccelError):
    """Placement does not do what it is asked for."""

    msg_fmt = 'Placement cannot be told what a server has: %(reason)s'


class NoRoom(AccelError):
    """Placement has nothing left; somebody else was faster."""

    msg_fmt = 'Placement has no room: %(reason)s'


class LeftUndone(AccelError):
    """Something failed, and not all that was done could be undone."""

    msg_fmt = '%(reason)s; what was done before that is undone once it can be'


class GuestRefused(AccelError):
    """The hypervisor does not change a guest."""

    msg_fmt = 'The guest of server %(server)s cannot be changed: %(reason)s'


class NoSuchDevice(AccelError):
    msg_fmt = 'no device %(device)r on this host: %(reason)s'


class NotRemapped(AccelError):
    """An operator's word on who is who cannot be taken."""

    msg_fmt = '%(old)s cannot be found as %(new)s from now on: %(reason)s'


class NotWritten(AccelError):
    """Placement did not take what an operator said."""

    msg_fmt = 'Placement did not take the traits of %(provider)s: %(reason)s'


class CommandFailed(AccelError):
    """A program of the operator's did not do what it should."""

    msg_fmt = '%(program)s %(how)s%(said)s'


class CannotRun(CommandFailed):
    """It could not even be started."""

    msg_fmt = '%(program)s cannot be run: %(reason)s'


class NotCleaned(AccelError):
    msg_fmt = 'Unit %(unit)s was not cleaned: %(reason)s'


class NotPrepared(AccelError):
    msg_fmt = 'Device %(device)s was not prepared: %(reason)s'
