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
"""What the commands tell a person."""

import time


class Clock:
    """Tells how long each step took."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        passed = time.monotonic() - self._start
        print(f'{passed:6.1f} s  {text}', flush=True)


def silent(_text: str) -> None:
    """Say nothing."""


def skip(what: str, reason: str, unchecked: str) -> None:
    """Say so loudly that nobody takes it for a success."""
    rule = '!' * 72
    print(
        f'{rule}\n{what} DID NOT RUN: {reason}.\n{unchecked}\n{rule}\n'
        ' - Skipped: 1'
    )
