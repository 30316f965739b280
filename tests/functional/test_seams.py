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
"""Everything of nova that is private, or not promised, and that we lean on.

A failure here means that nova changed under us. The message says which of
our modules to look at; nothing else has to be searched.
"""

import ast
import collections
import importlib.util
import inspect
import pathlib
import textwrap
import typing as ty

from nova.compute import claims
from nova.compute import manager as compute_manager
from nova.compute import provider_tree
from nova.compute import resource_tracker
from nova import objects
from nova.scheduler.client import report
from nova.scheduler import request_filter
from nova import service as nova_service
from nova import test
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host
from nova.virt import virtapi
from oslo_config import cfg
import oslo_service

RT = resource_tracker.ResourceTracker
DRIVER = libvirt_driver.LibvirtDriver
TREE = provider_tree.ProviderTree

# (owner, method, leading parameters that we rely on, whole signature?,
#  our module to look at when it changed)
SIGNATURES = [
    (RT, '_claim_resources', 'self allocations', True, 'virt/tracker.py'),
    (
        RT,
        'update_usage',
        'self context instance nodename',
        True,
        'virt/tracker.py',
    ),
    (
        RT,
        '_release_assigned_resources',
        'self resources',
        True,
        'virt/tracker.py',
    ),
    (
        RT,
        '_add_assigned_resources',
        'self resources',
        True,
        'virt/tracker.py',
    ),
    (
        RT,
        '_populate_assigned_resources',
        'self context instance_by_uuid',
        True,
        'virt/tracker.py',
    ),
    (
        compute_manager.ComputeManager,
        'reset',
        'self',
        True,
        'virt/mixin.py, _reset_service',
    ),
    (RT, '_check_resources', 'self context', True, 'virt/tracker.py'),
    (RT, '_update', 'self context compute_node', False, 'virt/tracker.py'),
    (
        DRIVER,
        '_create_guest',
        'self context xml instance',
        False,
        'virt/drivers.py',
    ),
    (
        RT,
        'update_available_resource',
        'self context nodename startup',
        True,
        'virt/tracker.py',
    ),
    (RT, 'instance_claim', 'self context instance', False, 'virt/tracker.py'),
    (RT, 'rebuild_claim', 'self context instance', False, 'virt/tracker.py'),
    (RT, 'resize_claim', 'self context instance', False, 'virt/tracker.py'),
    (
        RT,
        'live_migration_claim',
        'self context instance nodename migration limits allocs',
        True,
        'virt/tracker.py, virt/live_migration.py',
    ),
    (
        RT,
        'drop_move_claim',
        'self context instance nodename flavor',
        False,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'confirm_migration',
        'self context migration instance network_info',
        True,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        'check_can_live_migrate_destination',
        'self context instance',
        False,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'check_can_live_migrate_source',
        'self context instance dest_check_data',
        False,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'check_source_migrate_data_at_dest',
        'self ctxt instance migrate_data migration limits allocs',
        True,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'pre_live_migration',
        'self context instance',
        False,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'rollback_live_migration_at_destination',
        'self context instance',
        False,
        'virt/live_migration.py',
    ),
    (
        DRIVER,
        'post_live_migration_at_source',
        'self context instance network_info',
        True,
        'virt/live_migration.py',
    ),
    (DRIVER, 'suspend', 'self context instance', True, 'virt/drivers.py'),
    (DRIVER, 'resume', 'self context instance', False, 'virt/drivers.py'),
    (
        DRIVER,
        '_resume_guest_after_snapshot',
        'self context live_snapshot original_power_state instance guest',
        True,
        'virt/drivers.py',
    ),
    (
        RT,
        '_update_to_placement',
        'self context compute_node startup',
        True,
        'virt/tracker.py, publish',
    ),
    (
        DRIVER,
        '_allocate_mdevs',
        'self allocations',
        True,
        'virt/drivers.py',
    ),
    (
        DRIVER,
        '_guest_add_mdevs',
        'self guest chosen_mdevs',
        True,
        'virt/drivers.py',
    ),
    (
        DRIVER,
        '_guest_add_pci_devices',
        'self guest instance',
        True,
        'virt/drivers.py',
    ),
    (DRIVER, '__init__', 'self virtapi read_only', True, 'cli/visit.py'),
    (DRIVER, 'init_host', 'self host', True, 'virt/mixin.py'),
    (
        DRIVER,
        '_get_vgpu_type_per_pgpu',
        'self device_address',
        True,
        'virt/stock.py',
    ),
    (
        DRIVER,
        'get_available_resource',
        'self nodename',
        True,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        'update_provider_tree',
        'self provider_tree nodename allocations',
        True,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        'spawn',
        'self context instance image_meta injected_files admin_password '
        'allocations',
        False,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        'finish_migration',
        'self context migration instance disk_info network_info image_meta '
        'resize_instance allocations',
        False,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        'cleanup',
        'self context instance network_info block_device_info destroy_disks',
        False,
        'virt/mixin.py',
    ),
    (
        DRIVER,
        '_get_pci_passthrough_devices',
        'self',
        True,
        'virt/drivers.py',
    ),
    (DRIVER, 'node_is_available', 'self nodename', True, 'virt/mixin.py'),
    (libvirt_host.Host, '_get_hardware_info', 'self', True, 'virt/host.py'),
    (libvirt_host.Host, 'get_online_cpus', 'self', True, 'virt/host.py'),
    (libvirt_host.Host, 'get_available_cpus', 'self', True, 'virt/host.py'),
    (libvirt_host.Host, 'get_connection', 'self', False, 'virt/drivers.py'),
    (
        libvirt_host.Host,
        '_wrap_libvirt_proxy',
        'self obj',
        True,
        'virt/drivers.py',
    ),
    (libvirt_host.Host, 'get_hostname', 'self', False, 'virt/drivers.py'),
    (libvirt_host.Host, 'get_node_uuid', 'self', False, 'virt/drivers.py'),
    (TREE, '_find_with_lock', 'self name_or_uuid', False, 'virt/tree.py'),
    (TREE, 'exists', 'self name_or_uuid', False, 'virt/tree.py'),
    (TREE, 'data', 'self name_or_uuid', False, 'virt/tree.py'),
    (TREE, 'new_child', 'self name parent uuid', False, 'virt/tree.py'),
    (TREE, 'remove', 'self name_or_uuid', False, 'virt/mixin.py'),
    (
        TREE,
        'get_provider_uuids',
        'self name_or_uuid',
        False,
        'virt/tree.py',
    ),
    (
        TREE,
        'update_inventory',
        'self name_or_uuid inventory',
        False,
        'virt/tree.py',
    ),
    (
        TREE,
        'update_traits',
        'self name_or_uuid traits',
        False,
        'virt/tree.py',
    ),
    (
        TREE,
        'update_resources',
        'self name_or_uuid resources',
        False,
        'virt/tree.py',
    ),
    (
        report.SchedulerReportClient,
        'get_allocations_for_resource_provider',
        'self context rp_uuid',
        True,
        'virt/mixin.py, virt/audit.py',
    ),
    (
        report.SchedulerReportClient,
        'delete_allocation_for_instance',
        'self context uuid',
        False,
        'virt/repair.py',
    ),
    (
        report.SchedulerReportClient,
        'get_providers_in_tree',
        'self context uuid',
        True,
        'virt/audit.py',
    ),
    (
        report.SchedulerReportClient,
        'get_provider_traits',
        'self context rp_uuid',
        True,
        'virt/audit.py',
    ),
    (
        report.SchedulerReportClient,
        'get',
        'self url version global_request_id',
        True,
        'virt/audit.py',
    ),
]

PUBLIC_CLAIMS = [
    'instance_claim',
    'rebuild_claim',
    'resize_claim',
    'live_migration_claim',
]


class MigrateDataTest(test.NoDBTestCase):
    def test_the_two_hosts_can_tell_each_other(self) -> None:
        """See virt/live_migration.py."""
        data = objects.LibvirtLiveMigrateData()
        data.target_mdevs = {'uuid': 'uuid'}
        data.source_mdev_types = {'0000:18:00.0': '10de:1eb8'}
        data.pci_dev_map_src_dst = {'0000:18:00.0': '0000:af:00.0'}
        data.src_supports_numa_live_migration = True
        del data.target_mdevs
        self.assertNotIn('target_mdevs', data)


class SignatureTest(test.NoDBTestCase):
    def test_signatures(self) -> None:
        for owner, name, leading, whole, ours in SIGNATURES:
            with self.subTest(f'{owner.__name__}.{name}'):
                function = getattr(owner, name, None)
                self.assertIsNotNone(
                    function,
                    f'nova removed {owner.__name__}.{name}: find what '
                    f'replaced it and adapt nova_accel/{ours}',
                )
                found = list(
                    inspect.signature(inspect.unwrap(function)).parameters
                )
                wanted = leading.split()
                if not whole:
                    found = found[: len(wanted)]
                self.assertEqual(
                    wanted,
                    found,
                    f'nova changed the parameters of {owner.__name__}.'
                    f'{name}: adapt nova_accel/{ours}, then this table',
                )

    def test_virtapi_leads_to_the_tracker(self) -> None:
        source = inspect.getsource(compute_manager.ComputeVirtAPI.__init__)
        self.assertIn('self._compute = compute', source)
        self.assertIn('self.reportclient', source)
        self.assertTrue(
            issubclass(compute_manager.ComputeVirtAPI, virtapi.VirtAPI)
        )
        source = inspect.getsource(compute_manager.ComputeManager.__init__)
        self.assertIn('self.rt = resource_tracker.ResourceTracker(', source)

    def test_the_tracker_keeps_what_we_read(self) -> None:
        source = inspect.getsource(RT.__init__)
        for name in ('assigned_resources', 'compute_nodes', 'stats'):
            self.assertIn(f'self.{name} = ', source)

    def test_a_tree_is_what_we_look_into(self) -> None:
        tree = provider_tree.ProviderTree()
        root = tree.new_root('node', 'root-uuid')
        child = tree.new_child('child', root, 'child-uuid')
        tree.update_inventory(child, {'VGPU': {'total': 1}})
        tree.update_traits(child, ['CUSTOM_A'])
        tree.update_resources(child, {'VGPU': {1, 2}})
        found = tree._find_with_lock('node')
        self.assertEqual(
            ('root-uuid', ['child-uuid']), (found.uuid, list(found.children))
        )
        inside = found.children[child]
        self.assertEqual(
            ({'VGPU': {'total': 1}}, {'CUSTOM_A'}, {'VGPU': {1, 2}}),
            (inside.inventory, inside.traits, inside.resources),
            'nova changed what a ProviderTree consists of: adapt '
            'nova_accel/virt/tree.py, Settled',
        )

    def test_a_move_claim_works_on_a_copy(self) -> None:
        for claim, server in (('Claim', 'instance_ref'), ('MoveClaim', '')):
            source = inspect.getsource(getattr(claims, claim).abort)
            self.assertIn(
                f'self.{server or "instance"},',
                source,
                f'nova aborts a {claim} with another record of the server: '
                'adapt _informed in nova_accel/virt/tracker.py',
            )
        self.assertIn(
            'self.instance = instance.obj_clone()',
            inspect.getsource(claims.Claim.__init__),
        )

    def test_a_resource_is_what_we_build(self) -> None:
        self.assertLessEqual(
            {'provider_uuid', 'resource_class', 'identifier', 'metadata'},
            set(objects.Resource.fields),
        )

    def test_request_filters_are_a_list(self) -> None:
        self.assertIsInstance(
            request_filter.ALL_REQUEST_FILTERS,
            list,
            'nova_accel/scheduler adds its request filter to this list',
        )


class DoctorTest(test.NoDBTestCase):
    def test_a_compute_host_asks_the_conductor(self) -> None:
        source = _program()
        for line in (
            'nova.db.main.api.DISABLE_DB_ACCESS = True',
            'indirection_api = conductor_rpcapi.ConductorAPI()',
        ):
            self.assertIn(
                line,
                source,
                'nova-compute comes by its records in another way: adapt '
                'nova_accel/cli/visit.py',
            )


class ReloadTest(test.NoDBTestCase):
    """What of a SIGHUP reaches us: nova_accel/virt/reload.py."""

    def test_the_configuration_is_mutated_and_the_service_reset(self) -> None:
        self.assertIn(
            "restart_method='mutate'", inspect.getsource(nova_service.serve)
        )
        self.assertIn(
            'self.manager.reset()',
            inspect.getsource(nova_service.Service.reset),
        )
        source = _launcher('eventlet', 'Launcher', 'restart')
        self.assertIn('self.conf.mutate_config_files()', source)
        self.assertIn('self.services.restart()', source)

    def test_the_configuration_calls_us(self) -> None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        calls: list[object] = []
        conf.register_mutate_hook(lambda *args: calls.append(args))
        conf.mutate_config_files()
        self.assertEqual([(conf, {})], calls)

    def test_native_threads_do_not_reload(self) -> None:
        self.assertIn('no_fork=True', _program())
        self.assertIn(
            'raise common_service.SignalExit(signal.SIGHUP)',
            _launcher('threading', 'ProcessLauncher', '_reload_service'),
            'oslo.service reloads with native threads now: take the '
            'listener out of nova_accel/virt/reload.py',
        )
        # Before it starts the service, so that ours comes after.
        self.assertIn(
            'self.add_signal_handlers()',
            _launcher('threading', 'ProcessLauncher', '__init__'),
        )


def _program() -> str:
    """Return the source of nova-compute; to import it settles the threads."""
    spec = importlib.util.find_spec('nova.cmd.compute')
    assert spec is not None and spec.origin is not None
    return pathlib.Path(spec.origin).read_text()


def _launcher(backend: str, owner: str, method: str) -> str:
    """Source of a method; the backend not in use cannot be imported."""
    folder = pathlib.Path(oslo_service.__file__).parent
    text = (folder / 'backend' / f'_{backend}' / 'service.py').read_text()
    (found,) = (
        function
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name == owner
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == method
    )
    return ast.unparse(found)


class LockTest(test.NoDBTestCase):
    """The picks rely on nova holding its semaphore around every claim."""

    def test_every_claim_holds_the_semaphore(self) -> None:
        calls = _calls(RT)
        claimers = _callers('_claim_resources', calls)
        self.assertEqual(
            set(PUBLIC_CLAIMS),
            claimers,
            'another public method of the ResourceTracker claims resources '
            'now: wrap it in nova_accel/virt/tracker.py like the others',
        )
        for name in claimers:
            self._assert_synchronized(name)

    def test_every_release_holds_the_semaphore(self) -> None:
        calls = _calls(RT)
        for name in _callers('_release_assigned_resources', calls):
            self._assert_synchronized(name)

    def test_every_refill_holds_the_semaphore(self) -> None:
        for name in _callers('_populate_assigned_resources', _calls(RT)):
            self._assert_synchronized(name)

    def _assert_synchronized(self, name: str) -> None:
        tree = _tree(RT)
        decorators = [
            ast.unparse(decorator)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == name
            for decorator in node.decorator_list
        ]
        self.assertIn(
            'utils.synchronized(COMPUTE_RESOURCE_SEMAPHORE, fair=True)',
            decorators,
            f'ResourceTracker.{name} no longer holds the compute resource '
            'semaphore while it changes claims: nova_accel/manager.py must '
            'get a lock of its own',
        )


def _tree(cls: type) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def _calls(cls: type) -> dict[str, set[str]]:
    """Which method of a class calls which, by name."""
    calls: dict[str, set[str]] = collections.defaultdict(set)
    for function in ast.walk(_tree(cls)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(
                node.func, ast.Attribute
            ):
                calls[function.name].add(node.func.attr)
    return calls


def _callers(name: str, calls: ty.Mapping[str, set[str]]) -> set[str]:
    """The synchronized methods through which a method is reached."""
    found: set[str] = set()
    todo = {name}
    while todo:
        target = todo.pop()
        for caller, callees in calls.items():
            if target not in callees:
                continue
            decorated = any(
                isinstance(node, ast.FunctionDef)
                and node.name == caller
                and any(
                    'synchronized' in ast.unparse(d)
                    for d in node.decorator_list
                )
                for node in ast.walk(_tree(RT))
            )
            if decorated or not caller.startswith('_'):
                found.add(caller)
            else:
                todo.add(caller)
    return found
