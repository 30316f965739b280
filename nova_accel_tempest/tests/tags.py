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
"""What says of a test which is no test of a driver why it is not."""

import collections.abc
import typing as ty

_Test = ty.TypeVar('_Test', bound=collections.abc.Callable[..., ty.Any])


def passes_without_a_driver(
    reason: str,
) -> collections.abc.Callable[[_Test], _Test]:
    """Mark a test that says nothing about a driver; it still says something.

    :param reason: why it passes where no driver serves a guest. It stands
        in the list that ``control`` of this project's cloud writes.
    """

    def mark(test: _Test) -> _Test:
        test.__dict__['passes_without_a_driver'] = reason
        return test

    return mark
