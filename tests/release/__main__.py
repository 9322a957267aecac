"""``make dist``, the last part: what the README promises holds for the built packages, without the folder they were built from.

In an environment of its own the wheel is installed three times, as the README says: for services, for the platform, for one
machine with its Kafka. What each of them is for is done: import the kit; lint the example; start Kafka, platform and services, and
follow one order to its end. The examples come from the sdist. Exit status 1, and what went wrong, if anything is not as promised.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
import time
from pathlib import Path

from release.place import Place, ReleaseError

DIST = Path("dist")
EXAMPLE = Path("services/kantor_examples/checkout/checkout.yaml")
SCHEMAS = Path("schemas/kantor_schemas/examples/checkout")
SERVICES = ("shop", "inventory", "payment", "shipping")
#: What nobody can do without: the license, and what lets people build and test from the sdist.
IN_SDIST = (
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "requirements.lock",
    "tests/unit",
)


def main() -> int:
    started = time.monotonic()
    try:
        wheel, sdist = _only("*.whl"), _only("*.tar.gz")
        with tempfile.TemporaryDirectory(prefix="kantor-dist-") as folder:
            source = _unpacked(sdist, Path(folder) / "source")
            with Place(Path(folder) / "place", Path("requirements.lock")) as place:
                _services(place, wheel)
                _platform(place, wheel, source)
                _one_machine(place, wheel, source)
    except ReleaseError as error:
        _say(f"NOT FIT FOR A RELEASE: {error}")
        return 1
    _say(f"{wheel.name} and {sdist.name} do what the README says ({time.monotonic() - started:.0f} s)")
    return 0


def _services(place: Place, wheel: Path) -> None:
    """``pip install kantor``: the kit, and a program that says what it lacks."""
    place.install(str(wheel))
    place.python("-c", "import kantor, kantor.testing, kantor_schemas; kantor.Service('a')")
    said = place.fails("kantor", "status")
    if "Install kantor[orchestrator]" not in said:
        raise ReleaseError(f"`kantor` without the platform's packages does not say what to install:\n{said}")
    _say("the kit is there, and `kantor` says what it lacks")


def _platform(place: Place, wheel: Path, source: Path) -> None:
    """``pip install 'kantor[orchestrator]'``: the program, with nothing missing from what the wheel declares."""
    place.install(f"{wheel}[orchestrator]")
    version = wheel.name.split("-")[1]
    said = place.runs("kantor", "--version").strip()
    if said != f"kantor, version {version}":
        raise ReleaseError(f"{wheel.name} says of itself: {said}")
    place.runs("kantor", "lint", str(source / EXAMPLE), "--schemas", str(source / SCHEMAS))
    _say(f"{said}; lint of {EXAMPLE.name} finds nothing")


def _one_machine(place: Place, wheel: Path, source: Path) -> None:
    """``pip install 'kantor[dev]'``: a real Kafka, the platform, the services, one order."""
    place.install(f"{wheel}[dev]")
    place.copy(source / "services" / "kantor_examples")  # alone: the kit is to come from the wheel
    address = place.runs("kantor", "dev", "start").strip()
    try:
        place.environment["KANTOR_BOOTSTRAP_SERVERS"] = address
        place.runs("kantor", "deploy", str(source / EXAMPLE), "--schemas", str(source / SCHEMAS))
        place.start("run", place.bin / "kantor", "run")
        for service in SERVICES:
            place.start(service, place.bin / "python", "-m", f"kantor_examples.checkout.{service}")
        order = place.python("-m", "kantor_examples.checkout.orders", "1", "--fault", "none").split()[0]
        place.wait(lambda: place.status_of(order) == "completed", f"order {order} is completed")
        place.end()
    finally:
        del place.environment["KANTOR_BOOTSTRAP_SERVERS"]  # with it, Kafka would be taken for somebody else's
        place.runs("kantor", "dev", "stop")
    _say(f"Kafka, platform and services ran; order {order} is completed")


def _only(pattern: str) -> Path:
    found = [path.absolute() for path in DIST.glob(pattern)]
    if len(found) != 1:
        raise ReleaseError(f"{DIST} has {len(found)} files {pattern} where one should be: run `make dist`")
    return found[0]


def _unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    missing = [name for name in IN_SDIST if not (root / name).exists()]
    if missing:
        raise ReleaseError(f"{sdist.name} lacks {', '.join(missing)}")
    return root


def _say(text: str) -> None:
    print(f"dist: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
