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

"""What the commands share that look through nova's eyes, on its host."""

import argparse
import collections.abc
import contextlib
import signal
import sys
import typing as ty

from nova_accel.cli import options
from nova_accel.cli import outcome
from nova_accel.cli import text
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.cli import visit

CANNOT_LOOK = 2
SECONDS = 60

Action = collections.abc.Callable[['visit.Visit', argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_nova_conf(parser, 'where nova-compute looks for it')
    options.add_format(parser)


def cannot_look(reason: str) -> int:
    """Say why, and return the exit code."""
    outcome.complain(reason)
    return CANNOT_LOOK


def run(
    args: argparse.Namespace,
    action: Action,
    *,
    read_only: bool = True,
    seconds: int = SECONDS,
    blind: collections.abc.Callable[[str], int] = cannot_look,
) -> int:
    """Visit this host and return what ``action`` returns of it.

    :param seconds: after which it gives up.
    :param blind: told why, where nothing can be seen; returns the exit code.
    """
    try:
        from nova_accel.cli import visit

        visit.configure(args.nova_conf)
        with within(seconds):
            return action(visit.begin(read_only=read_only), args)
    except exception.InvalidWhitelist as error:
        for problem in error.problems:
            print(text.printable(str(problem)), file=sys.stderr)
        reason = 'the whitelist is wrong'
    except exception.AccelError as error:
        reason = str(error)
    except ImportError as error:
        reason = f'{error}; it needs nova, and runs beside it'
    return blind(reason)


@contextlib.contextmanager
def within(seconds: int) -> collections.abc.Iterator[None]:
    """Give up after a while, whatever is being waited for.

    :raises CannotLook: it took longer.
    """

    def give_up(_number: int, _frame: object) -> ty.NoReturn:
        raise exception.CannotLook(
            reason=f'no answer within {seconds} seconds; are libvirt, the '
            f'message bus, nova-conductor and Placement up?'
        )

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
