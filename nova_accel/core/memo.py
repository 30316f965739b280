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
"""Nothing changed, so the result is the same."""

import collections.abc
import operator
import typing as ty

_A = ty.TypeVarTuple('_A')
_R = ty.TypeVar('_R')


class Memo(ty.Generic[*_A, _R]):
    """A function that returns the very same object for the same arguments.

    Remembers one result. The same means identical: to compare what hundreds
    of devices make up would cost more than it saves. Arguments must never be
    changed in place.
    """

    def __init__(self, function: collections.abc.Callable[[*_A], _R]) -> None:
        self._function = function
        self._last: tuple[tuple[*_A], _R] | None = None

    def __call__(self, *args: *_A) -> _R:
        # One read: another thread may replace it meanwhile.
        last = self._last
        if last is None or any(map(operator.is_not, last[0], args)):
            last = self._last = (args, self._function(*args))
        return last[1]
