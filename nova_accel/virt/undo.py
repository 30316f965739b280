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
"""An undo stack that stops where something cannot be undone."""

import collections.abc
import contextlib
import logging

from nova_accel import exception

LOG = logging.getLogger(__name__)

Step = collections.abc.Callable[[], object]


@contextlib.contextmanager
def stack() -> collections.abc.Iterator[
    collections.abc.Callable[[Step], None]
]:
    """Undo what was done, last first, when an error ends the block.

    What cannot be undone keeps what was done before it: a device that may
    still be used is not given away. When the process is being ended nothing
    is undone: the next start finds what there is.

    :raises LeftUndone: it could not all be undone.
    """
    steps: list[Step] = []
    try:
        yield steps.append
    except Exception as error:
        while steps:
            try:
                steps.pop()()
            except Exception as e:
                LOG.warning('Could not be undone for now: %s', e)
                raise exception.LeftUndone(reason=error) from e
        raise
