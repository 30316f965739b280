#!/usr/bin/env python3
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
"""Refuse hosts and package sources that do not belong in the repository.

Where packages come from is the user's own configuration, never ours; and a
link is to one of the few places named here, which stay where they are.
"""

import pathlib
import re
import subprocess
import sys

LINKS = re.compile(r'\b(?:https?|git|ssh|ftp)://([^\s/:"\'<>`)]+)', re.I)
SOURCES = re.compile(r'--(?:extra-)?index-url|--find-links|--trusted-host')

KNOWN_HOSTS = re.compile(
    r"""
    (?:www\.apache|json-schema)\.org
    | (?:.*\.)?(?:kernel|libvirt|opendev|openstack)\.org
    | kubernetes\.io
    | [^.]* | 127\.\d+\.\d+\.\d+
    | (?:.*\.)?example(?:\.(?:com|net|org))?
    | .*[{$%].*
    """,
    re.VERBOSE,
)


def main() -> int:
    """Print every finding; 1 if there was one."""
    tracked = subprocess.run(
        ['git', 'ls-files', '-z'], check=True, capture_output=True, text=True
    ).stdout.split('\0')
    found = 0
    for name in filter(None, tracked):
        for number, complaint in _complaints(pathlib.Path(name)):
            print(f'{name}:{number}: {complaint}')
            found += 1
    return int(found > 0)


def _complaints(path: pathlib.Path) -> list[tuple[int, str]]:
    if path == pathlib.Path('tools/check_tree.py') or not path.is_file():
        return []
    text = path.read_text(encoding='utf-8', errors='replace')
    lines = enumerate(text.splitlines(), start=1)
    return [(n, text) for n, line in lines for text in _of_line(line)]


def _of_line(line: str) -> list[str]:
    hosts = [
        f'link to {host}: not one of the known hosts'
        for host in LINKS.findall(line)
        if not KNOWN_HOSTS.fullmatch(host)
    ]
    sources = [
        f'{option}: names a package source' for option in SOURCES.findall(line)
    ]
    return hosts + sources


if __name__ == '__main__':
    sys.exit(main())
