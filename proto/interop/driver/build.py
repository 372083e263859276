"""Fetches what the clients are made of and compiles them, into `target/`; nothing of it is ever committed.

What is fetched is pinned where its language pins it: `deps/*/pom.xml`, `go/go.mod` and `go.sum`, `python/requirements.txt`.
Where it comes from is the machine's own business (settings of Maven, Go and pip).
"""
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
TARGET = HERE / "target"
SERVER_SOURCES = "org.apache.rocketmq:rocketmq-all:{version}:zip:source-release"


def fetch_jars(name):
    """The class path of `deps/NAME/pom.xml`."""
    pom = HERE / "deps" / name / "pom.xml"
    jars = TARGET / "jars" / name

    def make():
        shutil.rmtree(jars, ignore_errors=True)
        _run(["mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={jars}"])
    _once(jars, [pom], make)
    return f"{jars}/*"


def fetch_source_build(version, modules, class_path):
    """Classes and resources of modules that a release publishes as source only."""
    folder = TARGET / "source" / version
    classes = folder / "classes"

    def make():
        shutil.rmtree(folder, ignore_errors=True)
        classes.mkdir(parents=True)
        artifact = SERVER_SOURCES.format(version=version)
        _run(["mvn", "-B", "-q", "-f", HERE / "deps" / f"apache-{version}" / "pom.xml", "dependency:copy",
              f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"])
        shutil.unpack_archive(next(folder.glob("*.zip")), folder)
        root = next(path for path in folder.iterdir() if path.is_dir() and path != classes)
        sources = [path for module in modules for path in (root / module / "src/main/java").rglob("*.java")]
        _javac(sources, classes, class_path)
        for module in modules:
            resources = root / module / "src/main/resources"
            if resources.is_dir():
                shutil.copytree(resources, classes, dirs_exist_ok=True)
    _once(classes, [HERE / "deps" / f"apache-{version}" / "pom.xml"], make)
    return classes


def compile_java(name, source_folders, class_path):
    """Compiles the Java of `source_folders` (below this one) into target/classes/NAME."""
    classes = TARGET / "classes" / name
    sources = sorted(path for folder in source_folders for path in (HERE / folder).rglob("*.java"))

    def make():
        shutil.rmtree(classes, ignore_errors=True)
        classes.mkdir(parents=True)
        _javac(sources, classes, class_path)
    _once(classes, sources, make, note=class_path)
    return f"{classes}:{class_path}"


def compile_go():
    """The program of the Go client's cases."""
    binary = TARGET / "go" / "cases"
    sources = sorted((HERE / "go").glob("*"))
    _once(binary, sources, lambda: _run(["go", "build", "-mod=readonly", "-o", binary, "."], cwd=HERE / "go"))
    return binary


def python_environment():
    """An interpreter that has the pinned Python client."""
    folder = TARGET / "python"
    requirements = HERE / "python" / "requirements.txt"

    def make():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", folder])
        _run([folder / "bin/pip", "install", "-q", "--no-deps", "--require-hashes", "-r", requirements])
    _once(folder, [requirements], make)
    return folder / "bin/python"


def _javac(sources, classes, class_path):
    _run(["javac", "-nowarn", "-Xlint:none", "-proc:none", "-encoding", "UTF-8", "-d", classes, "-cp", class_path,
          *sources])


def _once(product, inputs, make, note=""):
    """Makes `product` unless it was made of just these inputs."""
    digest = hashlib.sha256(note.encode())
    for path in inputs:
        if path.is_file():
            digest.update(str(path).encode() + path.read_bytes())
    stamp = TARGET / "stamps" / str(product.relative_to(TARGET)).replace("/", "-")
    if product.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    product.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    make()
    stamp.write_text(digest.hexdigest())


def _run(command, cwd=None):
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "MAVEN_OPTS": "-Xmx256m"}, check=False)
    if done.returncode != 0:
        shown = " ".join(command)
        raise RuntimeError(f"{shown[:300]}\n{done.stdout[-4000:]}")
