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
"""What an error of libvirt means, whichever module its class comes from.

libvirt-python, nova's stand-in for it and ours raise classes of their own
with codes of their own. All offer ``get_error_code()`` and sit in a module
that names the codes, so an error is recognised by its code's *name*.
"""

import sys


def is_libvirt(error: BaseException) -> bool:
    """Tell whether libvirt, or something in its place, raised it."""
    return hasattr(error, 'get_error_code')


def named(error: BaseException, *names: str) -> bool:
    """Tell whether the error bears one of the codes, ``NO_NODE_DEVICE``."""
    code = getattr(error, 'get_error_code', lambda: None)()
    module = sys.modules.get(type(error).__module__)
    codes = {getattr(module, f'VIR_ERR_{name}', None) for name in names}
    return code is not None and code in codes


def is_missing(error: BaseException) -> bool:
    """Tell whether the device asked for is not there (any more)."""
    return named(error, 'NO_NODE_DEVICE')


def is_gone(error: BaseException) -> bool:
    """Tell whether the guest asked about is not there (any more)."""
    return named(error, 'NO_DOMAIN')
