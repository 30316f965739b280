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
"""Single faults to plant in our driver: which tests of tempest notice?"""

# The tests that are run with each: some that look at the devices of a guest.
# All that are tagged would take an hour for each fault.
TESTS = (
    r'^nova_accel_tempest\.tests\.scenario\.('
    r'test_boot\.BootTest\.test_(each_server|no_device|several)'
    r'|test_boot\.FullTest\.test_deleting'
    r'|test_hot_attach\.HotAttachTest\.test_attach_and_detach'
    r'|test_lifecycle\.LifecycleTest\.test_stop_and_start'
    r').*\[.*driver'
)

# Name -> what is wrong then; ``planting`` does it
FAULTS = {
    'not-released': 'what a server held stays held when it is deleted',
    'not-attached': 'a device is claimed and prepared, the guest never has it',
    'wrong-device': 'the guest gets another card than the one claimed',
}
