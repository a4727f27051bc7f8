"""Which kernels are good enough, and what doctor says of them."""

import pytest

from sriov_xdp.cli.doctor import Check, kernel_check

REMEDY = "run Linux 5.18 or later: multi-buffer XDP programs came with it"


@pytest.mark.parametrize("release", ["4.19.0-27-amd64", "5.10.0-30-amd64", "5.17.15", "5.17"])
def test_a_kernel_before_5_18_is_too_old_and_the_remedy_says_why(release: str) -> None:
    assert Check(subject="kernel", is_ok=False, observed=release, remedy=REMEDY) == kernel_check(release)


@pytest.mark.parametrize("release", ["5.18", "5.18.0", "5.19.17-arch1-1", "6.1.0-25-amd64", "6.5.13"])
def test_a_kernel_before_6_6_works_with_clsact_filters(release: str) -> None:
    observed = f"{release} (clsact filters, tcx links come with 6.6)"
    assert Check(subject="kernel", is_ok=True, observed=observed) == kernel_check(release)


@pytest.mark.parametrize("release", ["6.6", "6.6.0-rc1", "6.10.3+", "6.18-fc", "6.18.0", "7.0.1", "10.1"])
def test_a_kernel_from_6_6_on_works_with_tcx_links(release: str) -> None:
    assert Check(subject="kernel", is_ok=True, observed=f"{release} (tcx links)") == kernel_check(release)


@pytest.mark.parametrize("release", ["6.18+", "6.6_custom"])
def test_a_suffix_of_the_distribution_does_not_matter(release: str) -> None:
    assert kernel_check(release).is_ok
