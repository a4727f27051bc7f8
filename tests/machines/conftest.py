"""Stock kernels with and without the page_pool fix. A kernel that cannot be had is an error, not a skip."""

import pytest

from sriov_xdp.host.kernel import FIXED_IN
from sriov_xdp.lab.machines import kernels
from sriov_xdp.lab.machines.kernels import Kernel

BRANCH = (6, 12)  # Debian 13's, which Debian 12 offers beside its own


@pytest.fixture(scope="session")
def unfixed() -> Kernel:
    return kernels.of_branch(BRANCH, before=FIXED_IN[BRANCH])


@pytest.fixture(scope="session")
def fixed() -> Kernel:
    return kernels.of_branch(BRANCH, since=FIXED_IN[BRANCH])


@pytest.fixture(scope="session")
def distribution() -> Kernel:
    return kernels.of_distribution()
