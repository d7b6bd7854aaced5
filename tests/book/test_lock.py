"""What is locked is what was tested."""

import re

from lock import HEAD, lock


def test_the_lock_leaves_out_torch_local_versions_and_this_package():
    """A "+cpu" in the lock could not be installed anywhere else."""
    frozen = "a==1.0\ntorch==2.13.0+cpu\nb==2.0+local\nminillm-course @ file:///x\n"
    assert lock(frozen) == HEAD + "a==1.0\nb==2.0\n"


def test_every_requirement_is_locked_within_its_range(root):
    """A requirement missing from the lock floats, and the tested set is a fiction."""
    locked = dict(
        line.split("==")
        for line in (root / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    required = re.findall(
        r"(?m)^([\w-]+)[=<>]", (root / "requirements.txt").read_text()
    )
    assert set(required) - {"torch"} <= set(locked)
    assert "torch" not in locked


def test_the_package_needs_nothing_that_the_requirements_do_not_bring(root):
    """The environment is made with --no-deps for the package itself."""
    project = (root / "pyproject.toml").read_text()
    needs = project.partition("\ndependencies = [")[2].partition("]")[0]
    names = set(re.findall(r'"([\w-]+)>=', needs))
    required = re.findall(
        r"(?m)^([\w-]+)[=<>]", (root / "requirements.txt").read_text()
    )
    assert names
    assert names <= set(required)
