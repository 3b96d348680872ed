"""Takes out of an environment what neither half uses, and compiles the rest. Used by the Dockerfile.

    python3 tools/image-trim.py /opt/trustbind

- botocore describes every service of AWS in 20 MB of JSON; IAM, STS and EKS are what the operator calls.
- the local AWS of demo and tests.
- pip and its like are not needed where nothing is installed any more.
- the synchronous Kubernetes client's models: both halves use the asynchronous one, and of that the transport alone, so
  its models stay, but are not compiled.
- sources of compiled extensions, and packages' own tests.

What is left is compiled: on a read-only file system Python could not keep what it compiles, and would do it at every
start. The compiled files do not depend on the sources' times, so that two builds give the same.
"""

from __future__ import annotations

import compileall
import py_compile
import re
import shutil
import sys
from pathlib import Path

SERVICES = {"iam", "sts", "eks"}


def main() -> int:
    """Run."""
    root = Path(sys.argv[1])
    (packages,) = (root / "lib").glob("python3*/site-packages")
    for service in (packages / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    shutil.rmtree(packages / "trustbind_localaws")
    for name in ("pip", "setuptools", "pkg_resources", "wheel", "_distutils_hack"):
        shutil.rmtree(packages / name, ignore_errors=True)
        for about in packages.glob(f"{name}-*.dist-info"):
            shutil.rmtree(about)
    for program in (root / "bin").glob("pip*"):
        program.unlink()
    for pattern in ("**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*_test.py"):
        for path in packages.glob(pattern):
            path.unlink()
    for part in ("models", "api"):
        for path in (packages / "kubernetes" / "client" / part).glob("*.py"):
            if path.name != "__init__.py":
                path.unlink()
    for tests in [path for path in packages.glob("**/tests") if path.is_dir()]:
        shutil.rmtree(tests)
    is_compiled = compileall.compile_dir(
        packages,
        quiet=1,
        workers=0,
        rx=re.compile(r"/kubernetes/aio/client/(?:models|api)/"),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return 0 if is_compiled else 1


if __name__ == "__main__":
    sys.exit(main())
